"""``sllm deploy``: the document arrives, progress is told, and the exit status says what became of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sllm_actors.cli import progress

from .conftest import Sllm
from .server import PlayedGateway, deployment

NAME = "facebook/opt-1.3b:vllm"
ARGUMENTS = ("deploy", "--model", "facebook/opt-1.3b")


def starting(progress: str) -> dict[str, object]:
    instances = [{"id": "r1", "node": "worker-0", "state": "starting", "progress": progress}]
    return deployment(NAME, state="starting", instances=instances)


def away(status: int) -> dict[str, object]:
    return {"id": NAME, "refusal": (status, "come back later", "away")}


def test_every_option_arrives_in_its_place(sllm: Sllm, gateway: PlayedGateway) -> None:
    ended = sllm(
        *("deploy", "--model", "m", "--backend", "external", "--source", "hf:a/b", "--num-gpus", "2"),
        *("--target", "4", "--min-instances", "0", "--max-instances", "3", "--keep-alive", "-1"),
        *("--scale-down-delay", "0.5", "--priority", "-3", "--pinned", "--preload", "--learn-keep-alive"),
        *("--gpu-memory", "auto"),
        *("--endpoint", "http://a:1", "--endpoint", "http://b:2", "--engine-arg", "dtype=auto"),
    )
    assert ended.code == 0
    assert ended.out == "Deployment created: m:external\n"
    assert gateway.bodies("POST", "/deployments") == [
        {
            "model": "m",
            "backend": "external",
            "source": "hf:a/b",
            "num_gpus": 2,
            "gpu_memory": "auto",
            "priority": -3,
            "pinned": True,
            "preload": True,
            "auto_scaling_config": {
                "target": 4,
                "min_instances": 0,
                "max_instances": 3,
                "scale_down_delay": 0.5,
                "keep_alive": -1,
                "learn_keep_alive": True,
            },
            "endpoints": ["http://a:1", "http://b:2"],
            "backend_config": {"dtype": "auto"},
        }
    ]


def test_a_deployment_file_is_sent_with_the_options_over_it(
    sllm: Sllm, gateway: PlayedGateway, tmp_path: Path
) -> None:
    file = tmp_path / "opt.json"
    file.write_text(json.dumps({"model": "m", "num_gpus": 1, "new_key": True}))
    assert sllm("deploy", "--config", str(file), "--num-gpus", "4").code == 0
    assert gateway.bodies("POST", "/deployments") == [{"model": "m", "num_gpus": 4, "new_key": True}]


def test_the_model_is_named_by_an_argument_or_an_option_but_once(sllm: Sllm, gateway: PlayedGateway) -> None:
    assert sllm("deploy", "facebook/opt-1.3b").code == 0
    assert gateway.bodies("POST", "/deployments") == [{"model": "facebook/opt-1.3b"}]
    ended = sllm("deploy", "a", "--model", "b")
    assert (ended.code, "name the model once" in ended.err) == (2, True)


@pytest.mark.parametrize(
    "text",
    ['{"model": "m", "num_gpus": 2}', ' \n{"model": "m",\n"num_gpus": 2}', 'model = "m"\nnum_gpus = 2\n'],
)
def test_a_deployment_comes_from_standard_input_as_json_or_toml(
    sllm: Sllm, gateway: PlayedGateway, text: str
) -> None:
    ended = sllm("deploy", "--config", "-", "--num-gpus", "3", stdin=text)
    assert (ended.code, ended.err) == (0, "")
    assert gateway.bodies("POST", "/deployments") == [{"model": "m", "num_gpus": 3}]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "standard input is not valid JSON for a deployment: Expecting property name"),
        ("model = ", "standard input is not valid TOML"),
        ("", "no model is named"),
        (" " * (2**16 + 1), "standard input is larger than 64 KiB"),
    ],
)
def test_what_is_no_deployment_on_standard_input_is_told(
    sllm: Sllm, gateway: PlayedGateway, text: str, sentence: str
) -> None:
    ended = sllm("deploy", "--config", "-", stdin=text)
    assert (ended.code, sentence in ended.err, gateway.requests) == (1, True, [])


def test_a_deployment_file_with_nothing_in_it_is_told(
    sllm: Sllm, gateway: PlayedGateway, tmp_path: Path
) -> None:
    (tmp_path / "d.json").write_text("\n")
    ended = sllm("deploy", "--config", str(tmp_path / "d.json"))
    assert (ended.code, gateway.requests) == (1, [])
    assert ended.err.endswith("d.json is empty: a deployment file has keys such as model and backend\n")


def test_an_update_and_warnings_are_told(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.created = False
    gateway.warnings = ["num_gpus is ignored by llamacpp"]
    ended = sllm(*ARGUMENTS)
    assert ended.out == f"Deployment there already: {NAME}\n"
    assert ended.err == "warning: num_gpus is ignored by llamacpp\n"


def test_waiting_tells_each_phase_once_and_ends_when_ready(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.add(
        starting("loading weights"), starting("loading weights"), starting("warming up"), deployment(NAME)
    )
    ended = sllm(*ARGUMENTS, "--wait")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        f"Deployment created: {NAME}",
        f"{NAME}: starting on worker-0, loading weights",
        f"{NAME}: starting on worker-0, warming up",
        f"{NAME}: ready",
        f"Ready: {NAME}",
    ]


def test_waiting_is_not_satisfied_by_the_revision_before(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.add(deployment(NAME, revision=0), starting("loading"), deployment(NAME))
    ended = sllm(*ARGUMENTS, "--wait")
    assert ended.code == 0
    assert len([request for request in gateway.requests if request[0] == "GET"]) == 3


def test_a_failure_is_explained_with_exit_status_and_log(sllm: Sllm, gateway: PlayedGateway) -> None:
    instance = {
        "id": "r1",
        "node": "worker-0",
        "state": "failed",
        "reason": "the engine ended while it was starting",
        "exit_status": "exit code 1",
        "log_tail": [f"line {number}" for number in range(30)] + ["CUDA out of memory"],
    }
    gateway.add(starting("loading"), deployment(NAME, state="failed", instances=[instance]))
    ended = sllm(*ARGUMENTS, "--wait")
    assert ended.code == 1
    lines = ended.err.splitlines()
    assert lines[0] == f"error: {NAME} failed: the engine ended while it was starting (exit code 1)"
    assert "sllm logs r1" in lines[1]
    assert lines[-1] == "  CUDA out of memory"
    assert len(lines) == 22


def test_waiting_ends_when_no_place_was_found_in_time(sllm: Sllm, gateway: PlayedGateway) -> None:
    detail = "it found no place within 600 s: no worker has 2 free GPUs for it (w1 has only 1)"
    gateway.add(deployment(NAME, state="pending"), deployment(NAME, state="failed", detail=detail))
    ended = sllm(*ARGUMENTS, "--wait")
    assert (ended.code, ended.err) == (1, f"error: {NAME} failed: {detail}\n")


@pytest.mark.parametrize(
    ("last", "goes_on"),
    [
        (starting("loading"), "it goes on loading (loading)"),
        (
            deployment(NAME, state="pending", detail="no worker has a free GPU"),
            "no worker has a free GPU; it starts as soon as it can",
        ),
        (
            deployment(NAME, state="pending", instances=[{"id": "r1", "progress": "it waits for 1 GPU"}]),
            "it waits for 1 GPU; it starts as soon as it can",
        ),
        (
            deployment(NAME, state="pending"),
            "nothing has been started for it yet; it starts as soon as it can",
        ),
    ],
)
def test_waiting_has_an_end_and_says_what_goes_on(
    sllm: Sllm, gateway: PlayedGateway, last: dict[str, object], goes_on: str
) -> None:
    gateway.add(last)
    ended = sllm(*ARGUMENTS, "--wait", "--timeout", "0.1")
    sentence = f"error: {NAME} is not ready after 0.1 s: {goes_on} (sllm status {NAME})\n"
    assert (ended.code, ended.err) == (1, sentence)


@pytest.mark.slow
def test_waiting_outlasts_a_gateway_that_restarts(
    sllm: Sllm, gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.add(starting("loading"), away(503), away(502), deployment(NAME))
    assert sllm(*ARGUMENTS, "--wait").code == 0
    gateway.deployments = {NAME: [away(503)]}
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.1)
    ended = sllm(*ARGUMENTS, "--wait")
    assert (ended.code, ended.err) == (1, "error: come back later\n")


def test_waiting_does_not_outlast_a_refusal(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.add(away(403))
    assert sllm(*ARGUMENTS, "--wait").err == "error: come back later\n"


def test_waiting_ends_when_somebody_deletes_the_deployment(sllm: Sllm, gateway: PlayedGateway) -> None:
    ended = sllm(*ARGUMENTS, "--wait")
    assert (ended.code, ended.err) == (1, f"error: {NAME} was deleted before it was ready\n")


def test_json_is_the_gateways_answer_and_nothing_else(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.add(starting("loading"), deployment(NAME))
    ended = sllm(*ARGUMENTS, "--wait", "--json")
    assert json.loads(ended.out)["deployment_id"] == NAME


def test_what_the_gateway_refuses_is_one_sentence(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.refusal = (400, "unknown key new_key: did you mean num_gpus?", "unknown_key")
    ended = sllm(*ARGUMENTS)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "error: unknown key new_key: did you mean num_gpus?\n"
    gateway.refusal = (400, "auto_scaling_config.min_instances must be from 0 to 256", "invalid_deployment")
    assert sllm(*ARGUMENTS, "--min-instances", "300").err == "error: --min-instances must be from 0 to 256\n"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--model", "m", "--num-gpus", "-1"),
        ("--model", "m", "--keep-alive", "soon"),
        ("--model", "m", "--keep-alive", "nan"),
        ("--model", "m", "--wait", "--timeout", "inf"),
        ("--model", "m", "--config", "/no/such/file.json"),
        ("--model", "m", "--no-such-option"),
    ],
)
def test_a_wrong_command_line_exits_with_2(
    sllm: Sllm, gateway: PlayedGateway, arguments: tuple[str, ...]
) -> None:
    ended = sllm("deploy", *arguments)
    assert ended.code == 2
    assert gateway.requests == []
    assert "Traceback" not in ended.err
