"""``sllm events``: what was decided, in lines for people and for scripts, over restarts of what it asks."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from sllm_actors.cli.commands import events as module

from .conftest import Sllm
from .server import PlayedGateway
from .terminal import Terminal

Start = Callable[..., "subprocess.Popen[str]"]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def event(number: int, **more: Any) -> dict[str, Any]:
    known = {
        "number": number,
        "at": 1.0,
        "kind": "replica.placed",
        "subject": "m:vllm",
        "sentence": f"decision {number}",
    }
    return known | {"revision": 1, "replica": None, "node": "w"} | more


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def test_each_event_is_a_line_with_its_time_kind_subject_and_sentence(
    sllm: Sllm, gateway: PlayedGateway
) -> None:
    gateway.events = [event(1), event(2, kind="node.linked", subject="w", sentence="w is\n\x1b[31mlinked")]
    ended = sllm("events")
    assert (ended.code, ended.err) == (0, "")
    assert [line.split(maxsplit=4) for line in ended.out.splitlines()] == [
        ["1970-01-01", "00:00:01", "replica.placed", "m:vllm", "decision 1"],
        ["1970-01-01", "00:00:01", "node.linked", "w", "w is linked"],
    ]
    assert ended.out.splitlines()[0].index("m:vllm") == ended.out.splitlines()[1].index("w  ")


def test_a_script_gets_each_entry_whole_on_a_line(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.events = [event(1, later="a field of a later version"), event(2)]
    assert [json.loads(line) for line in sllm("events", "--json").out.splitlines()] == gateway.events


def test_the_filters_go_to_the_gateway(sllm: Sllm, gateway: PlayedGateway) -> None:
    sllm("events", "org/m:vllm", "--kind", "replica")
    assert gateway.queries[-1] == "subject=org%2Fm%3Avllm&kind=replica&limit=50"


@pytest.mark.parametrize(
    ("arguments", "shown"), [((), range(11, 61)), (("-n", "3"), range(58, 61)), (("-n", "0"), ())]
)
def test_without_a_time_the_last_ones_are_shown(
    sllm: Sllm, gateway: PlayedGateway, arguments: tuple[str, ...], shown: range
) -> None:
    gateway.events = [event(number) for number in range(1, 61)]
    lines = sllm("events", "--json", *arguments).out.splitlines()
    assert [json.loads(line)["number"] for line in lines] == list(shown)


@pytest.mark.slow
def test_since_a_time_all_are_shown_page_by_page_or_the_last_of_them(
    sllm: Sllm, gateway: PlayedGateway
) -> None:
    gateway.page = 7
    start = int(time.time() - 600) * module.MICRO
    gateway.events = [event(start + number, sentence=str(number)) for number in range(-5, 40)]

    def shown(*arguments: str) -> list[int]:
        return [
            int(json.loads(line)["sentence"])
            for line in sllm("events", "--json", *arguments).out.splitlines()
        ]

    when = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(start // module.MICRO))
    assert shown("--since", when) == list(range(40))
    assert shown("--since", "1h") == list(range(-5, 40))
    assert shown("--since", "5m") == []
    assert shown("--since", when, "-n", "4") == [36, 37, 38, 39]


def test_more_than_a_page_of_the_last_ones(
    sllm: Sllm, gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 5)
    gateway.events = [event(number) for number in range(1, 31)]
    lines = sllm("events", "--json", "-n", "12").out.splitlines()
    assert [json.loads(line)["number"] for line in lines] == list(range(19, 31))


@pytest.mark.parametrize("when", ["yesterday", "10", "-5m", "2027-13-01", "9" * 20 + "d", "\u0661m"])
def test_a_time_that_is_none_is_a_wrong_command_line(sllm: Sllm, when: str) -> None:
    ended = sllm("events", f"--since={when}")
    assert ended.code == 2
    assert "is no time: give one as 90s, 10m, 2h, 3d or 2027-01-31T18:00" in ended.err


def test_a_name_that_means_nothing_is_an_error(sllm: Sllm) -> None:
    ended = sllm("events", "nosuch", "-f")
    assert (ended.code, ended.err) == (1, "error: there is no deployment, model or node 'nosuch'\n")


@pytest.mark.slow
def test_following_goes_on_behind_the_last_one_over_broken_streams_and_gateways_that_are_away(
    sllm_process: Start, gateway: PlayedGateway
) -> None:
    gateway.events = [event(1), event(2)]
    gateway.streams = [[event(5), event(6)], [], [event(7)]]
    following = sllm_process("events", "-f", "--json", "m")
    assert following.stdout is not None
    found = [json.loads(following.stdout.readline())["number"] for _ in range(5)]
    assert found == [1, 2, 5, 6, 7]
    assert following.stderr is not None
    said = [following.stderr.readline().rstrip() for _ in range(3)]
    again = "it is asked again every 1 s"
    ended = f"{gateway.url} has ended the stream: {again}"
    assert said == [ended, f"come back later: {again}", ended]
    wait_until(lambda: sum("follow=true" in query for query in gateway.queries) == 4)
    following.send_signal(signal.SIGINT)
    assert following.communicate(timeout=60)[1].strip() == ""
    assert following.returncode == 130
    asked = [query for query in gateway.queries if "follow=true" in query]
    assert [query.partition("after=")[2] for query in asked] == ["2", "6", "6", "7"]
    assert all("subject=m" in query for query in asked)


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_ends_it_quietly(sllm_process: Start, gateway: PlayedGateway) -> None:
    gateway.streams = [[event(number) for number in range(9)] for _ in range(50)]
    following = sllm_process("events", "-f")
    assert following.stdout is not None
    following.stdout.readline()
    following.stdout.close()
    assert following.wait(60) == 1
    assert following.stderr is not None
    assert all("asked again" in line for line in following.stderr.read().splitlines())


def test_a_refusal_that_will_not_pass_ends_the_following(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.refusal = (401, "this needs a key", "invalid_api_key")
    ended = sllm("events", "-f")
    assert ended.code == 1
    assert ended.err.startswith("error: this needs a key")


def test_what_is_no_journal_is_said_in_a_sentence(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.streams = [[{"number": "x"}]]
    ended = sllm("events", "-f")
    assert (ended.code, ended.err) == (
        1,
        "error: the gateway's events are none of the journal: is it an sllm gateway?\n",
    )


@pytest.mark.slow
def test_at_a_terminal_there_is_a_title_and_a_sentence_for_nothing(
    environment: dict[str, str], gateway: PlayedGateway
) -> None:
    def shown() -> str:
        terminal = Terminal(["events"], environment)
        try:
            return terminal.read_all()
        finally:
            terminal.close()

    assert shown().strip() == "Nothing like that is in the journal."
    gateway.events = [event(1)]
    title, line = shown().splitlines()
    assert title.split() == ["TIME", "EVENT", "SUBJECT", "WHAT", "AND", "WHY"]
    assert title.index("EVENT") == line.index("replica.placed")
