"""``sllm logs``: the end of a log, and everything after it when asked to follow."""

from __future__ import annotations

from .conftest import Sllm
from .server import PlayedGateway, deployment


def chunk(offset: int, text: str, *, ended: bool = False) -> dict[str, object]:
    return {"offset": offset, "next_offset": offset + len(text), "text": text, "ended": ended}


def test_the_end_of_the_log_is_printed_as_it_is(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.logs["r1"] = [chunk(90, "one\ntwo"), chunk(97, "three")]
    ended = sllm("logs", "r1")
    assert (ended.code, ended.out) == (0, "one\ntwo")


def test_following_goes_on_until_the_instance_has_ended(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.logs["r1"] = [chunk(0, "one\n"), chunk(4, "two\n"), chunk(8, "end\n", ended=True)]
    ended = sllm("logs", "r1", "-f")
    assert (ended.code, ended.out, ended.err) == (0, "one\ntwo\nend\n", "")


def test_following_ends_when_the_instance_disappears(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.logs["r1"] = [chunk(0, "one\n")]
    ended = sllm("logs", "r1", "--follow")
    assert (ended.code, ended.out, ended.err) == (0, "one\n", "r1 and its log are gone\n")


def test_a_model_with_one_instance_stands_for_it(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.logs["r/1"] = [chunk(0, "one\n")]
    gateway.add(deployment("a:vllm", instances=[{"id": "r/1"}]))
    assert sllm("logs", "a").out == "one\n"


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
