"""``sllm pull``: what it shows on the way, and that its exit status says whether the files are there."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable

import pytest

from sllm_actors.cli import progress

from .conftest import Sllm
from .server import PlayedGateway, pulled_on


def begun(name: str = "w1", percent: int = 0) -> dict[str, object]:
    return pulled_on(name, "pulling", percent * 20_000, progress=f"downloading m: {percent} % of 2.0 MB")


def test_it_shows_how_far_it_is_and_ends_when_all_files_are_there(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.pulls = [
        [begun(percent=50), pulled_on("w2", "queued", 0)],
        [begun(percent=50), pulled_on("w2", "queued", 0)],
        [pulled_on("w1"), begun("w2", 10)],
        [pulled_on("w1"), pulled_on("w2")],
    ]
    ended = sllm("pull", "hf:m", "--worker", "w1", "--worker", "w2")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        "w1: downloading m: 50 % of 2.0 MB; w2: queued",
        "w1: all 2.0 MB there; w2: downloading m: 10 % of 2.0 MB",
        "Pulled: hf:m (2.0 MB) on w1, w2",
    ]
    body = {"model": "m", "source": "hf:m", "workers": ["w1", "w2"], "cancel": False}
    assert gateway.requests[0] == ("POST", "/models/pull", body)
    assert {request[:2] for request in gateway.requests[1:]} == {("GET", "/models/pull/a-ticket")}


def test_what_is_there_is_said_to_be_there(sllm: Sllm, gateway: PlayedGateway) -> None:
    ended = sllm("pull", "m", "--backend", "llamacpp", "--all-workers")
    assert (ended.code, ended.out) == (0, "There already: hf:m (2.0 MB) on w1\n")
    assert gateway.requests[0][2] == {"model": "m", "backend": "llamacpp", "workers": "all", "cancel": False}


def test_each_reason_of_a_failure_is_told_once_with_its_workers(sllm: Sllm, gateway: PlayedGateway) -> None:
    failed = [pulled_on(each, "failed", reason="m is gated") for each in ("w1", "w2")]
    gateway.pulls = [[begun()], [*failed, pulled_on("w3"), pulled_on("w4", "cancelled")]]
    ended = sllm("pull", "m")
    assert (ended.code, ended.err) == (1, "error: w1, w2: m is gated; w4: the pull was cancelled\n")
    gateway.pulls = [[begun()], failed[:1]]
    assert sllm("pull", "m").err == "error: w1: m is gated\n"


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["absent", "away"])
def test_a_worker_that_was_started_anew_gets_the_pull_again(
    sllm: Sllm, gateway: PlayedGateway, lost: str
) -> None:
    gateway.pulls = [[begun()], [pulled_on("w1", lost)], [], [begun()], [pulled_on("w1")]]
    ended = sllm("pull", "m")
    assert ended.code == 0
    posted = gateway.bodies("POST", "/models/pull")
    again = {"model": "m", "source": "hf:m", "backend": "vllm", "workers": ["id-w1"]}
    assert posted == [{"model": "m", "cancel": False}, again, again]


def test_a_worker_that_stays_away_ends_the_waiting(
    sllm: Sllm, gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.0)
    gateway.pulls = [
        [begun()],
        [pulled_on("w1", "away", reason="worker w1 does not answer: its link is lost")],
    ]
    ended = sllm("pull", "m")
    assert (ended.code, ended.err) == (1, "error: worker w1 does not answer: its link is lost\n")


def test_without_waiting_it_says_what_goes_on_and_how_to_look(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.pulls = [[begun()]]
    ended = sllm("pull", "m", "--no-wait")
    sentence = "Pulling: hf:m on w1 (`sllm pull m` shows how far it is)\n"
    assert (ended.code, ended.out) == (0, sentence)
    gateway.pulls = [[pulled_on("w1", "failed", reason="the disk is full")]]
    ended = sllm("pull", "m", "--no-wait")
    assert (ended.code, ended.err) == (1, "error: w1: the disk is full\n")


def test_cancelling_twice_is_cancelling_once(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.pulls = [[pulled_on("w1", "cancelled"), pulled_on("w2")]]
    for _ in range(2):
        ended = sllm("pull", "m", "--cancel")
        assert (ended.code, ended.out) == (0, "Cancelled: hf:m on w1\n")
    gateway.pulls = [[pulled_on("w1", "absent")]]
    ended = sllm("pull", "m", "--cancel")
    assert (ended.code, ended.out) == (0, "Not pulled now: hf:m\n")
    assert gateway.bodies("POST", "/models/pull")[-1] == {"model": "m", "cancel": True}


def test_json_is_an_object_on_a_line_for_each_step(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.pulls = [[begun()], [begun(percent=50)], [begun(percent=50)], [pulled_on("w1")]]
    lines = [json.loads(line) for line in sllm("pull", "m", "--json").out.splitlines()]
    assert [each["workers"][0]["done"] for each in lines] == [0, 1_000_000, 2_000_000]
    assert [each["state"] for each in lines] == ["pulling", "pulling", "done"]
    gateway.pulls = [[pulled_on("w1", "failed", reason="no")]]
    ended = sllm("pull", "m", "--json")
    assert (ended.code, json.loads(ended.out)["state"]) == (1, "failed")


@pytest.mark.slow
def test_an_interrupt_only_ends_the_watching_and_says_so(
    gateway: PlayedGateway, sllm_process: Callable[..., subprocess.Popen[str]]
) -> None:
    gateway.pulls = [[begun(percent=10)]]
    watching = sllm_process("pull", "m")
    assert watching.stdout is not None
    assert watching.stdout.readline().startswith("w1: downloading")
    watching.send_signal(signal.SIGINT)
    _, said = watching.communicate(timeout=60)
    assert watching.returncode == 130
    assert said.strip() == "the pull of hf:m goes on: `sllm pull m --cancel` ends it"


def test_wrong_options_are_refused_and_refusals_name_them_as_they_were_typed(
    sllm: Sllm, gateway: PlayedGateway
) -> None:
    assert sllm("pull", "m", "--worker", "a", "--all-workers").code == 2
    assert sllm("pull", "").code == 2
    gateway.refusal = (400, "source hf:x is none", "invalid_request")
    ended = sllm("pull", "m", "--source", "hf:x")
    assert (ended.code, ended.err) == (1, "error: --source hf:x is none\n")
