"""Lines of traces in each of the formats."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from statistics import fmean
from typing import Any

import pytest

from sllm_actors.loadgen.traces.objects import object_row
from sllm_actors.loadgen.traces.row import TraceRow, WrongLine
from sllm_actors.loadgen.traces.servegen import WINDOW, RateWindow, client_arrivals, looks_like
from sllm_actors.loadgen.traces.tables import table_of

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
BURSTGPT = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
OLD_BURSTGPT = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"


def row(header: str, line: str) -> TraceRow | None:
    table = table_of(header)
    assert table is not None
    return table.row(line)


def test_azure_of_2023_and_2024() -> None:
    first = row(AZURE, "2023-11-16 18:17:03.9799600,4808,10\n")
    second = row(AZURE, "2023-11-16 18:17:04,3180,0")
    third = row("\ufeff" + AZURE, "2024-05-10 00:00:00.009930+00:00,2162,5\r\n")
    fourth = row(AZURE.strip() + ",NumImages", "2024-05-10 00:00:01+00:00,1,2,3")
    assert first is not None
    assert second is not None
    assert third is not None
    assert fourth is not None
    assert (first.input_tokens, first.output_tokens, first.model, first.blocks) == (4808, 10, None, ())
    assert second.at - first.at == pytest.approx(0.02004, abs=1e-6)
    assert fourth.at - third.at == pytest.approx(0.99007, abs=1e-6)


def test_burstgpt_without_the_requests_that_failed() -> None:
    assert row(BURSTGPT, "5,7,1.5,ChatGPT,472,18,490,Conversation log") == TraceRow(5.0, "ChatGPT", 472, 18)
    assert row(BURSTGPT, "5,7,1.5,ChatGPT,472,0,472,Conversation log") is None
    assert row(OLD_BURSTGPT, '45.5,"GPT-4",31,4.0,35,API log') == TraceRow(45.5, "GPT-4", 31, 4)
    assert row(OLD_BURSTGPT, "45,,31,4,35,API log") == TraceRow(45.0, None, 31, 4)


def test_mooncake_and_bailian_say_what_prompts_are_made_of() -> None:
    mooncake = {"timestamp": 27482, "input_length": 1100, "output_length": 52, "hash_ids": [46, 47, 2366]}
    assert object_row(json.dumps(mooncake)) == TraceRow(27.482, None, 1100, 52, (46, 47, 2366), 512)
    bailian = {
        "chat_id": 159,
        "parent_chat_id": -1,
        "timestamp": 61.114,
        "input_length": 521,
        "output_length": 132,
        "type": "text",
        "turn": 1,
        "hash_ids": [1, 2],
    }
    assert object_row(json.dumps(bailian)) == TraceRow(61.114, "text", 521, 132, (1, 2), 16)


@pytest.mark.parametrize(
    "header", ["", "a,b,c", "Timestamp,Model", "TIMESTAMP,GeneratedTokens,ContextTokens"]
)
def test_other_headers_are_known_to_nobody(header: str) -> None:
    assert table_of(header) is None


@pytest.mark.parametrize(
    ("header", "line", "why"),
    [
        (AZURE, "2023-11-16 18:17:03", "3 fields, not 1"),
        (AZURE, "", "3 fields, not 0"),
        (AZURE, "yesterday,1,2", "its time should be like"),
        (AZURE, "2023-11-16 18:17:03.x,1,2", "its time should be like"),
        (AZURE, "2023-11-16 18:17:03,many,2", "ContextTokens should be a number of tokens, not 'many'"),
        (AZURE, "2023-11-16 18:17:03,1,-2", "GeneratedTokens should be a number of tokens"),
        (AZURE, "2023-11-16 18:17:03,1.5,2", "ContextTokens should be a number of tokens"),
        (BURSTGPT, "5,7,1.5,ChatGPT,472,18", "8 fields, not 6"),
        (OLD_BURSTGPT, "nan,m,1,2,3,x", "its time should be a number of seconds"),
        (OLD_BURSTGPT, "x,m,1,2,3,x", "its time should be a number of seconds"),
        (OLD_BURSTGPT, "1,m,1,inf,3,x", "Response tokens should be a number of tokens"),
    ],
)
def test_a_broken_line_of_a_table_says_what_it_should_be(header: str, line: str, why: str) -> None:
    with pytest.raises(WrongLine, match=why):
        row(header, line)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ("{", "no object of JSON"),
        ("\udce9", "no object of JSON"),
        ("{}", "no request of Mooncake's or Bailian's"),
        ({"timestamp": "x"}, "no request of Mooncake's or Bailian's"),
        ({"timestamp": -1, "input_length": 1, "output_length": 1}, "should be 0 or more"),
        ({"timestamp": 1, "input_length": -1, "output_length": 1}, "should be 0 or more"),
    ],
)
def test_a_broken_object_says_what_it_should_be(found: Any, why: str) -> None:
    with pytest.raises(WrongLine, match=why):
        object_row(found if isinstance(found, str) else json.dumps(found))


def test_servegen_has_no_header() -> None:
    assert looks_like("0,0.5,1.2,Gamma,0.7,2.8\n")
    assert not looks_like(AZURE)
    assert not looks_like("a,b,c,d,e,f")
    assert RateWindow.parse("600,0.5,1.2,Weibull,0.7,2.8\n") == RateWindow(600.0, 0.5, "Weibull", 0.7, 2.8)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("1,2,3", "6 fields, not 3"),
        ("0,x,1,Gamma,1,1", "should be numbers"),
        ("0,1,1,Cauchy,1,1", "not Gamma or Weibull"),
        ("0,-1,1,Gamma,1,1", "below 0, or none"),
        ("0,inf,1,Gamma,1,1", "below 0, or none"),
    ],
)
def test_a_broken_window_says_what_it_should_be(line: str, why: str) -> None:
    with pytest.raises(WrongLine, match=why):
        RateWindow.parse(line)


@pytest.mark.parametrize(
    "window",
    [
        RateWindow(0, 5.0, "Gamma", 0.5, 0.4),
        RateWindow(0, 5.0, "Weibull", 1.0, 0.2),
        RateWindow(0, 5.0, "", 0.0, 0.0),
    ],
)
def test_the_requests_of_a_client_come_at_its_rate(window: RateWindow) -> None:
    windows = [
        RateWindow(number * WINDOW, *(window.rate, window.distribution, window.shape, window.scale))
        for number in range(4)
    ]
    found = list(client_arrivals(windows, random.Random("client")))
    assert found == sorted(found)
    assert fmean(after - before for before, after in pairwise(found)) == pytest.approx(0.2, rel=0.1)


def test_a_client_rests_in_windows_without_a_rate() -> None:
    windows = [RateWindow(number * WINDOW, rate, "", 0, 0) for number, rate in enumerate((0.0, 1.0, 0.0))]
    found = list(client_arrivals(windows, random.Random("client")))
    assert found
    assert all(WINDOW <= each < 2 * WINDOW for each in found)
