"""What a deployment sets in its engines' environment: values as they are, secrets from the worker."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from attrs import evolve

from sllm_actors.engines.backends.registry import inspect_source
from sllm_actors.engines.errors import LaunchProblem
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import InspectSource, ReplicaOrder, ReplicaState
from sllm_actors.engines.own_variables import read_variables
from sllm_actors.engines.replica import engine_life
from sllm_actors.testing import TestSystem

from .kit import FakeBackend, environment_of, report_of, start

OURS = {"MY_TOKEN": "hunter2", "EMPTY": ""}


def read(
    env: dict[str, str] | None = None,
    secret_env: dict[str, str] | None = None,
    own_folder: Path | None = None,
    *,
    any_code: bool = False,
) -> dict[str, str]:
    return read_variables(env or {}, secret_env or {}, ours=OURS, own_folder=own_folder, any_code=any_code)


def problem(secret_env: dict[str, str], own_folder: Path | None = None) -> str:
    with pytest.raises(LaunchProblem) as raised:
        read({}, secret_env, own_folder)
    assert "hunter2" not in str(raised.value)
    return str(raised.value)


def test_secrets_come_from_variables_and_files_of_the_worker(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbfhunter3\r\n")
    found = read({"A": "b"}, {"HF_TOKEN": "env:MY_TOKEN", "B": f"file:{tmp_path}/x"})
    assert found == {"A": "b", "HF_TOKEN": "hunter2", "B": "hunter3"}


def test_a_secret_that_is_not_here_is_named_and_never_shown(tmp_path: Path) -> None:
    for name, content in {"empty": b"\n", "nul": b"hunter2\0", "binary": b"\xff\xfe"}.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe")
    for reference, why in {
        "env:OTHER": "this worker has no variable OTHER: set it where the worker is started",
        "env:EMPTY": "this worker has no variable EMPTY: set it where the worker is started",
        f"file:{tmp_path}/no": f"there is no {tmp_path}/no on this worker",
        f"file:{tmp_path}/empty": f"{tmp_path}/empty is empty",
        f"file:{tmp_path}/nul": f"{tmp_path}/nul has a NUL character in it",
        f"file:{tmp_path}/binary": f"{tmp_path}/binary is not a text in UTF-8",
        f"file:{tmp_path}/pipe": f"{tmp_path}/pipe is not a regular file",
        f"file:{tmp_path}": f"{tmp_path} is a directory",
    }.items():
        assert problem({"A": reference}) == f"secret_env.A: {why}"


def test_what_is_secret_of_the_cluster_itself_is_not_for_engines(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secret").write_text("hunter2")
    (tmp_path / "link").symlink_to(tmp_path / "data" / "secret")
    for path in (
        tmp_path / "data" / "secret",
        tmp_path / "link",
        tmp_path / "data" / ".." / "data" / "secret",
    ):
        assert "is in the data directory of sllm" in problem({"A": f"file:{path}"}, tmp_path / "data")
    assert "is not for engines" in problem({"A": "env:SLLM_CLUSTER_SECRET"})


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PYTHONPATH", "PATH", "PYTHONSTARTUP"])
def test_variables_that_choose_code_need_a_worker_that_allows_it(name: str) -> None:
    with pytest.raises(LaunchProblem, match=f"env.{name} can make .* any code: .*--allow-command"):
        read({name: "/x"})
    assert read({name: "/x"}, any_code=True) == {name: "/x"}


@pytest.mark.parametrize(
    "name", ["CUDA_VISIBLE_DEVICES", "TMPDIR", "SLLM_ENGINE", "VLLM_PORT", "OMP_NUM_THREADS"]
)
def test_what_the_worker_decides_cannot_be_set(name: str) -> None:
    with pytest.raises(LaunchProblem, match=f"env.{name} cannot be set: "):
        read({name: "1"}, any_code=True)


def test_a_worker_that_has_not_the_secret_says_so_when_it_is_asked(host: EngineHost) -> None:
    secret_env = {"HF_TOKEN": "env:NO_SUCH_VARIABLE"}
    asked = InspectSource("llamacpp", "demo:smollm2-135m", secret_env=secret_env)
    assert inspect_source(asked, host).problem.startswith("secret_env.HF_TOKEN: this worker has no variable")


@pytest.mark.anyio
async def test_an_engine_has_the_variables_of_its_deployment(
    host: EngineHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_life, "backend_named", lambda _: FakeBackend())
    host = evolve(host, policy=evolve(host.policy, environment={**host.policy.environment, **OURS}))
    order = ReplicaOrder(
        ReplicaKey("m:fake", 1, 1),
        "m",
        "fake",
        "",
        env={"MODE": "fast"},
        secret_env={"HF_TOKEN": "env:MY_TOKEN"},
    )
    async with TestSystem() as system:
        _, probe = await start(system, order, host)
        ready = await report_of(probe, ReplicaState.READY)
        environment = environment_of(ready.pid)
        assert (environment["MODE"], environment["HF_TOKEN"]) == ("fast", "hunter2")
    async with TestSystem() as system:
        _, probe = await start(system, evolve(order, secret_env={"A": "env:GONE"}), host)
        failed = await report_of(probe, ReplicaState.FAILED)
        assert failed.reason.startswith("secret_env.A: this worker has no variable GONE")
