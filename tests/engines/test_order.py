"""What can be wrong with an order is said in one sentence that names the thing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sllm_actors.engines.backends.llamacpp import LlamaCpp, LlamaCppSettings
from sllm_actors.engines.backends.registry import inspect_source
from sllm_actors.engines.backends.settings import read_settings
from sllm_actors.engines.environment import chooses_code, engine_environment
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import InspectSource, ReplicaOrder
from sllm_actors.observe.redaction import looks_secret

from .kit import paths_in


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"n_ctxx": 1}, "the llamacpp backend has no setting 'n_ctxx'; did you mean n_ctx?"),
        ({"n_parallel": "two"}, "n_parallel must be a whole number from 1 to 256, not 'two'"),
        ({"max_num_seqs": True}, "max_num_seqs must be a whole number from 1 to 256, not True"),
        (
            {"n_parallel": 1, "max_num_seqs": 1},
            "max_num_seqs means n_parallel, which is given too: keep one of them",
        ),
        ({"pooling": "max"}, "pooling must be mean, cls, last or none, not 'max'"),
        ({"extra": {"port": 80}}, "extra.port cannot be set: the worker decides it"),
        ({"extra": {"n_parallel": 0}}, "extra.n_parallel cannot be set: give the setting n_parallel"),
        ({"n_parallel": 0}, "n_parallel must be a whole number from 1 to 256, not 0"),
        ({"max_num_seqs": -1}, "max_num_seqs must be a whole number from 1 to 256, not -1"),
        ({"n_threads": 10**9}, "n_threads must be a whole number from 1 to 4096, not 1000000000"),
        (
            {"max_model_len": 2**31 - 1},
            "max_model_len times n_parallel is 8589934588: llama.cpp has 2147483647 tokens at most",
        ),
        (
            {"extra_args": ["--ctx-size=4096", "-ngl", "20"]},
            (
                "extra_args cannot be set: llama.cpp runs here without its command line; give for"
                ' --ctx-size the setting n_ctx, for -ngl extra = {"n_gpu_layers": N}'
            ),
        ),
        (
            {"extra_args": "--mlock"},
            (
                "extra_args cannot be set: llama.cpp runs here without its command line; give the"
                ' settings of the llamacpp backend, and others as extra = {"n_batch": 512}'
            ),
        ),
        (
            {"n_ctxx": 1, "n_threads": 2, "n_parallel": 0, "pooling": 3},
            (
                "3 mistakes: the llamacpp backend has no setting 'n_ctxx'; did you mean n_ctx?; n_parallel"
                " must be a whole number from 1 to 256, not 0; pooling must be mean, cls, last or none, not 3"
            ),
        ),
        (
            {"n_ctx": 8, "max_model_len": 8},
            "n_ctx is max_model_len times n_parallel: give one of n_ctx and max_model_len",
        ),
    ],
)
def test_settings_that_mean_nothing_are_refused(
    host: EngineHost, settings: dict[str, object], problem: str
) -> None:
    answer = inspect_source(InspectSource("llamacpp", "demo:smollm2-135m", settings), host)
    assert answer.problem == problem


def test_of_very_many_mistakes_in_settings_the_first_are_told(host: EngineHost) -> None:
    settings: dict[str, object] = {f"n_ctx{number}" * 40: 1 for number in range(20)}
    problem = inspect_source(InspectSource("llamacpp", "demo:smollm2-135m", settings), host).problem
    assert problem.startswith("20 mistakes: the llamacpp backend has no setting 'n_ctx0n_ctx0")
    assert problem.endswith("; and 12 more")
    assert len(problem) < 5000


def test_a_source_that_is_good_is_known_by_its_size(host: EngineHost) -> None:
    answer = inspect_source(InspectSource("llamacpp", "demo:smollm2-135m", {"n_ctx": None}), host)
    assert answer.problem == ""
    assert answer.size is not None
    assert answer.size > 80_000_000


def test_settings_reach_the_command_line(host: EngineHost, folder: Path) -> None:
    settings: dict[str, object] = {"max_model_len": 100, "max_num_seqs": 3, "extra": {"n_batch": 64}}
    order = ReplicaOrder(ReplicaKey("m:llamacpp", 1, 1), "m", "llamacpp", "demo:smollm2-135m", settings)
    launch = LlamaCpp().launch(order, host, paths_in(folder))
    assert launch.plan is not None
    told = json.loads(launch.plan.argv[-1])
    assert told["alias"] == "m"
    assert launch.address == f"unix:{told['socket']}"
    parameters = told["parameters"]
    assert (parameters["n_ctx"], parameters["n_parallel"], parameters["n_batch"]) == (300, 3, 64)


def test_embeddings_can_be_left_out() -> None:
    settings = read_settings(LlamaCppSettings, {"embedding": False}, "llamacpp")
    assert "pooling_type" not in settings.parameters(2, num_gpus=0)


def test_a_model_is_not_loaded_twice_where_there_is_no_gpu_that_it_has_to_fit() -> None:
    settings = LlamaCppSettings()
    assert settings.parameters(4, num_gpus=0)["fit_params"] is False
    assert settings.parameters(4, num_gpus=1)["fit_params"] is True
    chosen = LlamaCppSettings(extra={"fit_params": 1})
    assert chosen.parameters(4, num_gpus=0)["fit_params"] == 1


@pytest.mark.parametrize(
    "name",
    ["SLLM_API_KEY", "SLLM_ANYTHING", "OPENAI_API_KEY", "HF_TOKEN", "aws_secret_access_key", "DB_PASSWORD"],
)
def test_secrets_do_not_reach_an_engine(name: str, folder: Path) -> None:
    assert name not in engine_environment({name: "x"}, paths_in(folder))


@pytest.mark.parametrize(
    "name", ["PATH", "HOME", "TOKENIZERS_PARALLELISM", "CUDA_VISIBLE_DEVICES", "KEYBOARD"]
)
def test_what_is_no_secret_reaches_it(name: str) -> None:
    assert not looks_secret(name)


SERVICE = {
    "VLLM_SERVICE_HOST": "10.0.0.9",
    "VLLM_SERVICE_PORT": "8000",
    "VLLM_SERVICE_PORT_HTTP_METRICS": "9000",
    "VLLM_PORT": "tcp://10.0.0.9:8000",
    "VLLM_PORT_8000_TCP": "tcp://10.0.0.9:8000",
    "VLLM_PORT_8000_TCP_PROTO": "tcp",
    "VLLM_PORT_8000_TCP_PORT": "8000",
    "VLLM_PORT_8000_TCP_ADDR": "10.0.0.9",
    "MASTER_PORT": "tcp://10.0.0.8:29500",
    "DNS_PORT": "udp://10.0.0.10:53",
    "DNS_PORT_53_UDP": "udp://10.0.0.10:53",
    "KUBERNETES_SERVICE_HOST": "10.0.0.1",
    "KUBERNETES_SERVICE_PORT_HTTPS": "443",
}
"""What Kubernetes sets in each container for services called vllm, master, dns and kubernetes."""

CHOSEN = {
    "VLLM_PORT": "29500",
    "VLLM_LOGGING_LEVEL": "DEBUG",
    "MASTER_PORT": "29500",
    "OTEL_SERVICE_NAME": "sllm",
    "NCCL_SOCKET_IFNAME": "eth0",
    "VLLM_SERVICE": "x",
    "SUPPORT": "tcp://a",
}


def test_where_services_of_a_platform_are_does_not_reach_an_engine(folder: Path) -> None:
    assert not SERVICE.keys() & engine_environment(SERVICE, paths_in(folder)).keys()


def test_what_a_person_has_set_reaches_it(folder: Path) -> None:
    env = engine_environment({**SERVICE, **CHOSEN}, paths_in(folder))
    assert CHOSEN.items() <= env.items()
    asked_for = engine_environment(SERVICE, paths_in(folder), VLLM_PORT="tcp://wanted")
    assert asked_for["VLLM_PORT"] == "tcp://wanted"


def test_variables_that_choose_code_are_known_by_their_names() -> None:
    chosen = ["LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "PATH", "MY_PATH", "HF_TOKEN", "PYTHON", "ENV"]
    assert [chooses_code(name) for name in chosen] == [True, True, True, True, False, False, False, True]
