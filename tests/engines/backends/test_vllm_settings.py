"""The settings of a vllm deployment: what becomes an argument, and what is refused in one sentence."""

from __future__ import annotations

from typing import Any

import pytest

from sllm_actors.engines.backends.vllm_settings import read_vllm_settings
from sllm_actors.engines.errors import SettingsProblem


def arguments(num_gpus: int = 1, **settings: object) -> list[str]:
    return list(read_vllm_settings(settings).arguments(num_gpus, "bfloat16"))


def refusal(num_gpus: int = 1, **settings: object) -> str:
    with pytest.raises(SettingsProblem) as problem:
        arguments(num_gpus, **settings)
    return str(problem.value)


def test_what_is_not_given_is_the_engines_own_choice() -> None:
    assert arguments() == ["--tensor-parallel-size=1", "--enable-sleep-mode"]


def test_an_engine_on_gpus_can_be_put_to_sleep_unless_somebody_says_no() -> None:
    assert "--enable-sleep-mode" in arguments(2)
    assert "--enable-sleep-mode" not in arguments(2, enable_sleep_mode=False)
    assert "--enable-sleep-mode" not in arguments(0)
    with pytest.raises(SettingsProblem, match="enable_sleep_mode needs a GPU"):
        arguments(0, enable_sleep_mode=True)


def test_each_setting_becomes_an_argument() -> None:
    assert arguments(
        4,
        tensor_parallel_size=2,
        pipeline_parallel_size=2,
        max_model_len=4096,
        gpu_memory_utilization=0.8,
        dtype="float16",
        quantization="awq",
        load_format="safetensors",
        trust_remote_code=True,
        enable_prefix_caching=False,
        enforce_eager=True,
        max_num_seqs=32,
        max_num_batched_tokens=2048,
        enable_sleep_mode=False,
        seed=7,
        runner="generate",
        extra_args=["--generation-config", "vllm"],
    ) == [
        "--tensor-parallel-size=2",
        "--pipeline-parallel-size=2",
        "--max-model-len=4096",
        "--gpu-memory-utilization=0.8",
        "--dtype=float16",
        "--quantization=awq",
        "--load-format=safetensors",
        "--max-num-seqs=32",
        "--max-num-batched-tokens=2048",
        "--seed=7",
        "--runner=generate",
        "--trust-remote-code",
        "--no-enable-prefix-caching",
        "--enforce-eager",
        "--generation-config",
        "vllm",
    ]


def test_on_a_cpu_it_computes_in_what_suits_it_and_compiles_nothing_unless_told() -> None:
    assert arguments(0) == ["--tensor-parallel-size=1", "--dtype=bfloat16", "--enforce-eager"]
    told = arguments(0, dtype="float32", enforce_eager=False)
    assert told == ["--tensor-parallel-size=1", "--dtype=float32", "--no-enforce-eager"]


def test_adapters_imply_lora_and_keep_any_path_whole() -> None:
    assert arguments(lora_modules={"sql": "/models/sql, v=2"})[-3:] == [
        "--enable-lora",
        "--lora-modules",
        '{"name": "sql", "path": "/models/sql, v=2"}',
    ]


def test_an_older_task_is_said_in_todays_words() -> None:
    assert arguments(task="embed")[-2:] == ["--runner=pooling", "--convert=embed"]
    assert arguments(task="auto") == arguments()


def test_the_gpus_of_a_replica_are_all_used() -> None:
    assert arguments(4)[0] == "--tensor-parallel-size=4"
    assert arguments(4, pipeline_parallel_size=2)[0] == "--tensor-parallel-size=2"


@pytest.mark.parametrize(
    ("num_gpus", "sizes", "sentence"),
    [
        (
            2,
            {"tensor_parallel_size": 4},
            "tensor_parallel_size 4 times pipeline_parallel_size 1 is 4, but num_gpus is 2: make them agree",
        ),
        (
            0,
            {"tensor_parallel_size": 2},
            "tensor_parallel_size 2 times pipeline_parallel_size 1 is 2, but num_gpus is 0: make them agree",
        ),
        (4, {"pipeline_parallel_size": 3}, "pipeline_parallel_size 3 does not divide num_gpus 4"),
    ],
)
def test_sizes_that_do_not_agree_with_the_gpus_are_refused(
    num_gpus: int, sizes: dict[str, Any], sentence: str
) -> None:
    assert refusal(num_gpus, **sizes) == sentence


@pytest.mark.parametrize(
    ("argument", "name"),
    [
        ("--host=0.0.0.0", "host"),
        ("--host", "host"),
        ("--hos=x", "host"),
        ("--port=1", "port"),
        ("--uds", "uds"),
        ("--api_key=k", "api-key"),
        ("--model=/x", "model"),
        ("--mod=/x", "model"),
        ("--served_model_name", "served-model-name"),
        ("--config=/x.yaml", "config"),
        ("-dp", "data-parallel-size"),
        ("-asc=2", "api-server-count"),
        ("--no-headless", "headless"),
    ],
)
def test_arguments_that_fight_with_what_the_worker_decides_are_refused(argument: str, name: str) -> None:
    assert refusal(extra_args=[argument]).startswith(f"extra_args cannot set --{name}: ")


@pytest.mark.parametrize("argument", ["-tp=2", "--tensor-parallel-size=2", "--pipeline_parallel_size"])
def test_sizes_are_settings_since_they_have_to_agree_with_the_gpus(argument: str) -> None:
    assert "give the setting " in refusal(extra_args=[argument])


def test_arguments_whose_names_only_look_like_a_refused_one_are_passed_on() -> None:
    extra = ["--model-impl=vllm", "--config-format", "hf", "--max-model-len=1024", "-cc.mode=none"]
    assert arguments(extra_args=extra)[-5:] == extra


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"max_model_len": 8, "extra_args": ["--max-model-len=9"]}, "max_model_len is given twice"),
        ({"enforce_eager": True, "extra_args": ["--no-enforce-eager"]}, "enforce_eager is given twice"),
        ({"extra_args": ["word"]}, "extra_args must begin with an argument like --name, not 'word'"),
        ({"extra_args": ["--xyz", "--"]}, "extra_args cannot have -- in it"),
        ({"extra_args": ["--a=\0"]}, "extra_args has a NUL character in it"),
        ({"extra_args": "--a 'b"}, "extra_args must be a list of texts, or one text with its quotes closed"),
        ({"extra_args": [1]}, "extra_args must be a list of texts"),
        ({"task": "embed", "runner": "pooling"}, "task and runner say the same in two ways"),
        ({"lora_modules": {"a": "b"}}, "lora_modules.a must be the absolute path of an adapter's folder"),
        ({"lora_modules": {"a": "/b"}, "enable_lora": False}, "enable_lora is false although"),
        ({"quantization": "a b"}, "quantization must be a plain name, not 'a b'"),
        ({"gpu_memory_utilization": 1.5}, "gpu_memory_utilization must be a number above 0, up to 1"),
        ({"gpu_memory_utilization": 0}, "gpu_memory_utilization must be a number above 0, up to 1"),
        ({"max_model_length": 1}, "the vllm backend has no setting 'max_model_length'; did you mean max_mo"),
        ({"dtype": "int4"}, "dtype must be auto, half, float16, bfloat16, float or float32, not 'int4'"),
    ],
)
def test_bad_settings_get_one_clear_sentence(settings: dict[str, Any], sentence: str) -> None:
    assert refusal(**settings).startswith(sentence)


def test_one_text_of_arguments_is_split_but_never_given_to_a_shell() -> None:
    assert arguments(extra_args="--xyz 'b c' $(d)")[-3:] == ["--xyz", "b c", "$(d)"]
