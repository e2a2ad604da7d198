"""``sllm logs``: the end of a log, and everything after it when asked to follow."""

from __future__ import annotations

import pytest

from sllm_actors.cli.commands import logs

from .conftest import Sllm
from .server import PlayedGateway, deployment

R1 = "a:vllm@1.0.1"


def chunk(offset: int, text: str, *, ended: bool = False) -> dict[str, object]:
    return {"offset": offset, "next_offset": offset + len(text), "text": text, "ended": ended}


def test_the_end_of_the_log_is_printed_as_it_is(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.logs[R1] = [chunk(90, "one\ntwo"), chunk(97, "three")]
    ended = sllm("logs", R1)
    assert (ended.code, ended.out) == (0, "one\ntwo")


def test_following_goes_on_until_the_instance_has_ended(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.logs[R1] = [chunk(0, "one\n"), chunk(4, "two\n"), chunk(8, "end\n", ended=True)]
    ended = sllm("logs", R1, "-f")
    assert (ended.code, ended.out, ended.err) == (0, "one\ntwo\nend\n", "")


def test_following_ends_when_the_instance_disappears(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.logs[R1] = [chunk(0, "one\n")]
    ended = sllm("logs", R1, "--follow")
    assert (ended.code, ended.out, ended.err) == (0, "one\n", f"{R1} and its log are gone\n")


def test_a_model_with_one_instance_stands_for_it(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.logs["org/a:vllm@1.0.7"] = [chunk(0, "one\n")]
    gateway.add(deployment("org/a:vllm", instances=[{"id": "org/a:vllm@1.0.7"}]))
    assert sllm("logs", "org/a").out == "one\n"


def test_other_names_are_explained(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.add(deployment("none:vllm"))
    gateway.add(deployment("two:vllm", instances=[{"id": "r1"}, {"id": "r2"}]))
    for name, sentence in {
        "what": "no instance what: sllm status ID lists those of a deployment",
        "none": "none:vllm has no instance now: there is no log",
        "two": "two:vllm has 2 instances: name one of r1, r2",
    }.items():
        ended = sllm("logs", name)
        assert (ended.code, ended.err) == (1, f"error: {sentence}\n")


@pytest.mark.slow
def test_the_last_lines_are_taken_from_as_far_back_as_they_go(
    sllm: Sllm, gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "".join(f"line {number}\n" for number in range(10))
    monkeypatch.setattr(logs, "CHUNK_BYTES", 16)
    pieces = [(38, 54), (22, 38), (6, 22), (0, 6)]
    last = {"offset": 54, "next_offset": 70, "text": text[54:], "ended": True}
    gateway.logs[R1] = [last, *(chunk(begin, text[begin:end]) for begin, end in pieces)]
    for count, begin in ((0, 70), (1, 63), (2, 56), (3, 49), (9, 7), (10, 0), (11, 0)):
        ended = sllm("logs", R1, "-n", str(count))
        assert (ended.code, ended.out) == (0, text[begin:])
    assert sllm("logs", R1, "--lines", "-1").code == 2


def test_following_after_the_last_lines_goes_on_where_they_end(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.logs[R1] = [chunk(0, "one\ntwo\nthr"), chunk(11, "ee\n", ended=True)]
    assert sllm("logs", R1, "-f", "-n", "1").out == "three\n"


def test_the_last_lines_of_a_log_whose_begin_is_dropped_are_those_that_are_left(
    sllm: Sllm, gateway: PlayedGateway
) -> None:
    gateway.logs[R1] = [
        chunk(2**17, "x\ny\n"),
        chunk(2**16, "a\nb\n") | {"next_offset": 2**17},
        chunk(0, "x\ny\n") | {"next_offset": 2**17 + 4},
    ]
    assert sllm("logs", R1, "-n", "100").out == "a\nb\nx\ny\n"
