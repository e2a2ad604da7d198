"""How an SGLang is started, and which sentence says why it cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.engines.installs.installed import make_python, site_packages
from tests.engines.kit import altered

from sllm_actors.engines.backends.backend import Launch
from sllm_actors.engines.backends.sglang import SECRETS, WORK, Sglang
from sllm_actors.engines.backends.work_metrics import Sample
from sllm_actors.engines.errors import LaunchProblem
from sllm_actors.engines.gpu_figures import GpuFigures
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaOrder

KEY = ReplicaKey("m:sglang", 1, 0)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    python = make_python(tmp_path_factory.mktemp("sglang"))
    package = site_packages(python) / "sglang"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    return python


def launch(host: EngineHost, python: str, model: object, num_gpus: int, **settings: Any) -> Launch:
    order = ReplicaOrder(KEY, "the model", "sglang", str(model), settings, num_gpus=num_gpus)
    return Sglang().launch(
        order, altered(host, interpreters={"sglang": python}), host.folders.paths_for(KEY.attempt(1))
    )


def test_it_is_started_from_a_list_of_arguments(host: EngineHost, python: str, model: Path) -> None:
    found = launch(
        host,
        python,
        model,
        2,
        max_model_len=4096,
        gpu_memory_utilization=0.8,
        dtype="bfloat16",
        max_num_seqs=8,
        trust_remote_code=True,
        extra_args=["--chunked-prefill-size", "4096"],
    )
    assert found.plan is not None
    assert found.weights == model
    port = found.address.removeprefix("loopback:")
    assert found.plan.argv == (
        python,
        "-m",
        "sglang.launch_server",
        f"--model-path={model}",
        "--served-model-name=the model",
        "--host=127.0.0.1",
        f"--port={port}",
        "--config",
        str(found.plan.paths.tmpdir / SECRETS),
        "--tp-size=2",
        "--context-length=4096",
        "--mem-fraction-static=0.8",
        "--dtype=bfloat16",
        "--max-running-requests=8",
        "--trust-remote-code",
        "--enable-metrics",
        "--chunked-prefill-size",
        "4096",
    )


def test_it_is_told_its_share_of_a_gpu_unless_its_deployment_says_how_much_it_takes(
    host: EngineHost, python: str, model: Path
) -> None:
    shares = launch(host, python, model, 1)
    assert shares.share_of_free
    assert shares.share_argument(0.45) == ("--mem-fraction-static=0.4500",)
    assert launch(host, python, model, 1, gpu_memory_utilization=0.8).share_argument(0.45) == ()


def test_what_a_model_takes_of_each_gpu_is_told_by_its_files(
    host: EngineHost, python: str, model: Path
) -> None:
    said = {"num_hidden_layers": 4, "num_attention_heads": 8, "hidden_size": 128}
    (model / "config.json").write_text(json.dumps(said))
    asked = Sglang().inspect(str(model), {"max_model_len": 512}, python, 2).gpu_figures
    assert asked == launch(host, python, model, 2, max_model_len=512).gpu_figures
    assert asked == GpuFigures(2, 4 * 4 * 32 * 2, 512)


def test_its_key_is_its_own_and_on_no_command_line(host: EngineHost, python: str, model: Path) -> None:
    first, second = launch(host, python, model, 1), launch(host, python, model, 1)
    assert first.plan is not None
    assert len(first.key) >= 32
    assert first.key != second.key
    assert first.key not in " ".join(first.plan.argv)
    assert first.key not in repr(first)
    assert json.loads(first.plan.files[SECRETS]) == {"api-key": first.key}


@pytest.mark.parametrize(
    ("num_gpus", "settings", "problem"),
    [
        (0, {}, "SGLang needs a GPU"),
        (2, {"tensor_parallel_size": 1}, "tensor_parallel_size is 1 and num_gpus 2"),
        (1, {"extra_args": ["--host=0.0.0.0"]}, "extra_args cannot set --host"),
        (1, {"extra_args": ["--tp-size=8"]}, "--tp-size: give the setting tensor_parallel_size"),
        (1, {"extra_args": ["--tp", "8"]}, "--tp-size: give the setting tensor_parallel_size"),
        (1, {"extra_args": ["--tensor-par=8"]}, "--tensor-parallel-size: give the setting"),
        (1, {"extra_args": ["--pp-size=2"]}, "--pp-size: an engine spreads each layer over all"),
        (1, {"extra_args": ["--api_key", "x"]}, "extra_args cannot set --api-key"),
        (1, {"quality": 1}, "no setting 'quality'"),
    ],
)
def test_what_cannot_work_is_refused(
    host: EngineHost, python: str, model: Path, num_gpus: int, settings: dict[str, Any], problem: str
) -> None:
    with pytest.raises(LaunchProblem) as raised:
        launch(host, python, model, num_gpus, **settings)
    assert problem in str(raised.value)


def test_where_it_is_missing_somebody_is_told_what_to_do(
    host: EngineHost, tmp_path: Path, model: Path
) -> None:
    with pytest.raises(LaunchProblem, match=r"SGLang is not installed for .*--engine-python sglang=PATH"):
        launch(host, make_python(tmp_path), model, 1)


def test_its_metrics_tell_of_its_work() -> None:
    text = 'sglang:num_running_reqs{model_name="m"} 2.0\nsglang:generation_tokens_total{} 7\n'
    assert WORK.read(text) == Sample(2, 7)
