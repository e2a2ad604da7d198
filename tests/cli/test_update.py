"""``sllm update`` and ``sllm deploy --update``: what is sent, what is told, and when waiting ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import Sllm
from .server import PlayedGateway, deployment

NAME = "org/opt:vllm"
PATH = f"/deployments/{NAME}"


def rolling(state: str = "progressing", *, ready: int = 0, reason: str = "", **more: Any) -> dict[str, Any]:
    rollout = {"revision": 2, "state": state, "reason": reason, "ready": ready, "wanted": 2}
    return deployment(NAME, **{"rollout": rollout} | more)


@pytest.fixture
def there(gateway: PlayedGateway) -> PlayedGateway:
    gateway.add(deployment(NAME))
    gateway.changed = ["num_gpus"]
    return gateway


# ---- what is sent


def test_only_what_is_given_is_sent_as_a_patch(sllm: Sllm, there: PlayedGateway) -> None:
    ended = sllm(
        *("update", NAME, "--num-gpus", "2", "--max-instances", "3", "--keep-alive", "60"),
        *("--engine-arg", "max-model-len=2048", "--engine-arg", "dtype=null", "--engine-arg=--eager"),
        *("--env", "A=b", "--set", "hold_timeout=9.5", "--set", "auto_scaling_config.target=null"),
        *("--set", "backend_config.a.b=text", "--allow-downtime"),
    )
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"Deployment updated: {NAME} (num_gpus)\n"
    assert there.bodies("PATCH", PATH) == [
        {
            "num_gpus": 2,
            "auto_scaling_config": {"max_instances": 3, "keep_alive": 60, "target": None},
            "backend_config": {
                "max_model_len": 2048,
                "dtype": None,
                "extra_args": ["--eager"],
                "a": {"b": "text"},
            },
            "env": {"A": "b"},
            "hold_timeout": 9.5,
        }
    ]
    assert there.queries[-1] == "allow_downtime=true"


def test_a_file_is_a_patch_with_the_options_over_it(sllm: Sllm, there: PlayedGateway, tmp_path: Path) -> None:
    file = tmp_path / "opt.json"
    file.write_text(json.dumps({"scaling": {"target": 1}, "settings": {"dtype": None}, "env": None}))
    ended = sllm("update", "org/opt", "--config", str(file), "--target", "4", "--engine-arg", "n=1")
    assert ended.code == 0
    assert there.bodies("PATCH", PATH) == [
        {"scaling": {"target": 4}, "settings": {"dtype": None, "n": 1}, "env": None}
    ]
    assert there.queries[-1] == ""


def test_deploying_again_updates_to_exactly_the_settings_given(sllm: Sllm, there: PlayedGateway) -> None:
    there.created = False
    ended = sllm("deploy", "org/opt", "--num-gpus", "2", "--update", "--allow-downtime")
    assert (ended.code, ended.out) == (0, f"Deployment updated: {NAME} (num_gpus)\n")
    assert there.bodies("POST", "/deployments") == [{"model": "org/opt", "num_gpus": 2}]
    assert there.queries[-1] == "update=true&allow_downtime=true"
    assert sllm("deploy", "org/opt").code == 0
    assert there.queries[-1] == ""


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_rollout_is_paused_and_resumed(sllm: Sllm, there: PlayedGateway, verb: str) -> None:
    ended = sllm("update", NAME, f"--{verb}")
    assert (ended.code, ended.out) == (0, f"Rollout {verb}d: {NAME} (revision 2)\n")
    assert there.requests[-1][:2] == ("POST", f"{PATH}/{verb}")
    assert json.loads(sllm("update", NAME, f"--{verb}", "--json").out)["status"] == verb


# ---- what is told


def test_an_update_that_changes_nothing_says_so(sllm: Sllm, there: PlayedGateway) -> None:
    there.changed = []
    there.warnings = ["router_config has no effect"]
    ended = sllm("update", NAME, "--num-gpus", "1")
    assert (ended.code, ended.out) == (0, f"{NAME} has these settings already\n")
    assert ended.err == "warning: router_config has no effect\n"


def test_an_unknown_deployment_is_an_error_and_nothing_is_sent(sllm: Sllm, gateway: PlayedGateway) -> None:
    for name in ("gone", "gone:vllm"):
        ended = sllm("update", name, "--num-gpus", "1")
        assert (ended.code, ended.err) == (
            1,
            f"error: no deployment {name}: sllm status lists what is there\n",
        )
    assert {method for method, _, _ in gateway.requests} == {"GET"}


@pytest.mark.parametrize("command", [("update", NAME), ("deploy", "org/opt")])
def test_each_mistake_has_a_line_and_the_name_that_was_typed(
    sllm: Sllm, there: PlayedGateway, command: tuple[str, ...]
) -> None:
    sentences = ["num_gpus must be from 0 to 1024, not -1", "hold_timeout: true is not a number"]
    there.mistakes = [{"param": None, "message": each} for each in sentences]
    there.refusal = (400, f"2 mistakes: {'; '.join(sentences)}", "invalid_deployment")
    there.refused = ("PATCH", "POST")
    ended = sllm(*command, "--num-gpus", "5", "--set", "hold_timeout=true")
    assert ended.code == 1
    assert ended.err.splitlines() == [
        "error: 2 mistakes",
        "  --num-gpus must be from 0 to 1024, not -1",
        "  --set hold_timeout: true is not a number",
    ]


def test_of_very_many_mistakes_the_rest_is_counted(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.mistakes = [{"param": "a", "message": "one"}, {"param": "b", "message": "two"}]
    gateway.refusal = (400, "40 mistakes: one; two; and 38 more", "invalid_deployment")
    ended = sllm("deploy", "m")
    assert ended.err == "error: 40 mistakes\n  one\n  two\n  and 38 more\n"


def test_the_mistakes_of_a_file_have_a_line_each(sllm: Sllm, gateway: PlayedGateway, tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text('{"model": "a", "num_gpus": NaN, "source": "x\\u0000", "source": 1}')
    ended = sllm("deploy", "--config", str(tmp_path / "d.json"))
    assert (ended.code, gateway.requests) == (1, [])
    assert ended.err.splitlines()[0].endswith("d.json is not valid JSON for a deployment: 3 mistakes")
    assert ended.err.splitlines()[1:] == [
        '  the key "source" is given twice',
        "  num_gpus: NaN is not a number that JSON has",
        '  source: "x\\u0000" has a NUL character in it',
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("update",),
        ("update", NAME),
        ("update", NAME, "--wait"),
        ("update", NAME, "--pause", "--resume"),
        ("update", NAME, "--pause", "--num-gpus", "1"),
        ("update", NAME, "--pause", "--wait"),
        ("update", NAME, "--num-gpus", "-1"),
        ("update", NAME, "--set", "hold_timeout"),
        ("deploy", "m", "--allow-downtime"),
    ],
)
def test_a_wrong_command_line_exits_with_2(
    sllm: Sllm, gateway: PlayedGateway, arguments: tuple[str, ...]
) -> None:
    ended = sllm(*arguments)
    assert (ended.code, gateway.requests) == (2, [])


@pytest.mark.parametrize(
    "pairs",
    [["a.=1"], [".a=1"], ["a..b=1"], ["a=1", "a.b=2"], ["a.b=2", "a=1"], ["a.b=1", "a.b.c=2"]],
)
def test_keys_that_make_no_sense_together_are_told(
    sllm: Sllm, gateway: PlayedGateway, pairs: list[str]
) -> None:
    ended = sllm("update", NAME, *(word for pair in pairs for word in ("--set", pair)))
    assert (ended.code, gateway.requests) == (1, [])
    assert "makes no sense beside the other keys" in ended.err


# ---- waiting


def test_waiting_follows_the_rollout_until_the_new_revision_serves(sllm: Sllm, there: PlayedGateway) -> None:
    loading = {"id": "r2", "node": "w1", "state": "starting", "progress": "loading weights"}
    going = {"id": "r1", "node": "w1", "state": "draining"}
    there.add(
        rolling(instances=[going, loading]),
        rolling(ready=1, reason="it waits for 1 GPU"),
        deployment(NAME, revision=2),
    )
    ended = sllm("update", NAME, "--num-gpus", "2", "--wait")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        f"Deployment updated: {NAME} (num_gpus)",
        f"{NAME}: revision 2, 0 of 2 replicas ready; starting on w1, loading weights",
        f"{NAME}: revision 2, 1 of 2 replicas ready, it waits for 1 GPU",
        f"{NAME}: ready",
        f"Ready: {NAME}",
    ]


def test_a_deployment_that_fails_is_waited_for_while_its_mended_revision_rolls_out(
    sllm: Sllm, there: PlayedGateway
) -> None:
    there.add(rolling() | {"state": "failed"}, deployment(NAME, revision=2))
    assert sllm("update", NAME, "--num-gpus", "2", "--wait").code == 0


@pytest.mark.parametrize("state", ["ready", "asleep", "idle"])
def test_a_deployment_without_requests_is_ready_too(sllm: Sllm, there: PlayedGateway, state: str) -> None:
    there.add(deployment(NAME, revision=2, state=state))
    assert sllm("update", NAME, "--num-gpus", "2", "--wait").code == 0


def test_one_that_is_idle_is_loaded_once_so_that_its_first_failure_shows(
    sllm: Sllm, there: PlayedGateway
) -> None:
    idle, failed = (deployment(NAME, revision=2, state=state) for state in ("idle", "failed"))
    there.add(idle, failed | {"detail": "it has no weights"})
    ended = sllm("update", NAME, "--num-gpus", "2", "--wait")
    assert (ended.code, ended.err) == (1, f"error: {NAME} failed: it has no weights\n")
    assert [path for method, path, _ in there.requests if method == "POST"] == [f"/deployments/{NAME}/load"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            rolling("rolled_back", reason="the engine ended with exit code 1"),
            "revision 2 was rolled back, and revision 1 serves: the engine ended with exit code 1",
        ),
        (
            rolling("paused", reason="no worker has a GPU"),
            "the rollout of revision 2 is paused: no worker has a GPU (sllm update NAME --resume goes on)",
        ),
        (
            deployment(NAME, rollout={"revision": 3}),
            "revision 2 gave way to revision 3 before it was ready",
        ),
    ],
)
def test_waiting_ends_with_the_reason_when_the_new_revision_does_not_come(
    sllm: Sllm, there: PlayedGateway, answer: dict[str, Any], sentence: str
) -> None:
    there.add(rolling(), answer)
    ended = sllm("update", NAME, "--num-gpus", "2", "--wait")
    assert (ended.code, ended.err) == (1, f"error: {NAME}: {sentence.replace('NAME', NAME)}\n")


@pytest.mark.parametrize(
    "rollout",
    [
        {"revision": 1, "state": "rolled_back", "reason": "an older attempt"},
        {"revision": 3, "state": "progressing"},
    ],
)
def test_the_rollout_of_another_revision_is_not_that_of_ours(
    sllm: Sllm, there: PlayedGateway, rollout: dict[str, Any]
) -> None:
    there.add(deployment(NAME, revision=2, rollout=rollout))
    assert sllm("update", NAME, "--num-gpus", "2", "--wait").code == 0


def test_a_resumed_rollout_is_followed_and_waiting_has_an_end(sllm: Sllm, there: PlayedGateway) -> None:
    there.add(rolling(ready=1))
    ended = sllm("update", NAME, "--resume", "--allow-downtime", "--wait", "--timeout", "0.05")
    assert there.queries[1] == "allow_downtime=true"
    assert ended.code == 1
    assert ended.err == (
        f"error: {NAME} is not ready after 0.05 s: the rollout goes on (revision 2, 1 of 2 replicas ready) "
        f"(sllm status {NAME})\n"
    )


def test_json_is_the_answer_and_nothing_else(sllm: Sllm, there: PlayedGateway) -> None:
    there.add(rolling(), deployment(NAME, revision=2))
    ended = sllm("update", NAME, "--num-gpus", "2", "--wait", "--json")
    assert json.loads(ended.out)["changed"] == ["num_gpus"]


def test_status_shows_the_rollout(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.add(rolling("paused", ready=1, reason="paused by a person"))
    assert "revision 2 paused, 1 of 2 ready: paused by a person" in sllm("status", NAME).out
