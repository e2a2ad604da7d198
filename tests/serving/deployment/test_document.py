"""What a deployment document may say, and the one sentence that its author gets for anything else."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.serving.deployment.document import may_name_zones, read_document, read_zones, write_document
from sllm_actors.serving.deployment.json_text import check_value
from sllm_actors.serving.deployment.problem import MAX_MISTAKES, MAX_SENTENCE, DeploymentProblem
from sllm_actors.serving.deployment.spec import DeploymentSpec, Scaling

from .documents import problem, read
from .specs import DOCUMENTS, JSON

# ---- names, old and new


def test_a_model_alone_has_every_default() -> None:
    assert read() == DeploymentSpec(model="m", backend="vllm", scaling=Scaling(max_instances=1))


@pytest.mark.parametrize("key", ["auto_scaling_config", "scaling"])
def test_scaling_has_an_old_and_a_new_name(key: str) -> None:
    scaling = {"metric": "concurrency", "target": 4, "min_instances": 1, "max_instances": 3, "keep_alive": 60}
    assert read(**{key: scaling}).scaling == Scaling(
        target=4, min_instances=1, max_instances=3, keep_alive=60.0
    )


def test_scaling_reads_the_names_of_the_later_gateway() -> None:
    scaling = read(auto_scaling_config={"target_ongoing_requests": 5, "keep_alive_seconds": 7}).scaling
    assert (scaling.target, scaling.keep_alive) == (5, 7.0)


@pytest.mark.parametrize("key", ["backend_config", "settings"])
def test_settings_have_an_old_and_a_new_name(key: str) -> None:
    assert read(**{key: {"max_model_len": 1024}}).settings == {"max_model_len": 1024}


def test_settings_read_the_names_of_older_files() -> None:
    given = {"torch_dtype": "float16", "lora_adapters": {"a": "/a"}, "extra_args": ["--x"], "precision": None}
    assert read(backend_config=given).settings == {
        "dtype": "float16",
        "lora_modules": {"a": "/a"},
        "extra_args": ["--x"],
    }


def test_the_path_in_the_backends_settings_is_the_source() -> None:
    def source(name: str) -> str:
        return read(backend_config={"pretrained_model_name_or_path": name}).source

    assert source("facebook/opt-1.3b") == "hf:facebook/opt-1.3b"
    assert source("/models/opt") == "/models/opt"
    assert source("") == ""


def test_a_source_goes_before_the_path_in_the_settings_and_says_so() -> None:
    document = {"model": "m", "source": "/a", "backend_config": {"pretrained_model_name_or_path": "b"}}
    spec, warnings = read_document(json.dumps(document))
    assert spec.source == "/a"
    assert warnings == [
        "backend_config.pretrained_model_name_or_path has no effect: source goes before it",
    ]


def test_aliases_may_be_one_or_a_list_and_the_older_name_of_a_policy_means_todays() -> None:
    assert read(aliases="gpt").aliases == ("gpt",)
    spec = read(aliases=["gpt", "other"], routing_policy="power_of_two", queue_timeout=2)
    assert (spec.aliases, spec.routing_policy, spec.queue_timeout) == (("gpt", "other"), "p2c", 2.0)
    assert read().queue_timeout is None


@pytest.mark.parametrize("given", ["http://a:1", ["http://a:1"]])
@pytest.mark.parametrize("key", ["endpoint", "endpoints"])
def test_endpoints_may_be_one_or_a_list(key: str, given: Any) -> None:
    assert read(backend="external", **{key: given}).endpoints == ("http://a:1",)


def test_the_bundled_default_of_serverlessllm_deploys_with_warnings() -> None:
    document = {
        "model": "facebook/opt-1.3b",
        "backend": "vllm",
        "num_gpus": 1,
        "auto_scaling_config": {
            "metric": "concurrency",
            "target": 1,
            "min_instances": 0,
            "max_instances": 10,
            "keep_alive": 0,
        },
        "backend_config": {
            "pretrained_model_name_or_path": "",
            "device_map": "auto",
            "torch_dtype": "float16",
            "hf_model_class": "AutoModelForCausalLM",
            "trace_debug": False,
        },
        "router_config": {"migration_delta": 20},
        "scheduler_config": {"alpha": 0.01},
        "placement_config": {"local_disk": ["0"]},
    }
    spec, warnings = read_document(json.dumps(document))
    assert spec.id == "facebook/opt-1.3b:vllm"
    assert spec.scaling == Scaling(target=1, min_instances=0, max_instances=10, keep_alive=0)
    assert spec.settings == {"dtype": "float16"}
    assert [warning.split(" has no effect: ")[0] for warning in warnings] == [
        "router_config",
        "scheduler_config",
        "placement_config",
        "backend_config.device_map",
        "backend_config.hf_model_class",
        "backend_config.trace_debug",
    ]


def test_a_byte_order_mark_is_passed_over() -> None:
    assert read_document('\ufeff{"model": "a"}')[0].model == "a"


def test_variables_are_kept_and_one_that_looks_like_a_secret_is_warned_of() -> None:
    given = {"model": "a", "env": {"MODE": "x", "HF_TOKEN": "y"}, "secret_env": {"B": "file:/run/b"}}
    spec, warnings = read_document(json.dumps(given))
    assert (spec.env, spec.secret_env) == (given["env"], given["secret_env"])
    assert warnings == [
        "env.HF_TOKEN looks like a secret, and is kept by the head as it is: give it as secret_env.HF_TOKEN"
    ]
    assert read_document(json.dumps(write_document(spec)))[0] == spec


def test_null_means_the_default() -> None:
    assert read(num_gpus=None, source=None, settings=None, scaling=None, endpoints=None) == read()


def test_the_largest_numbers_are_carried() -> None:
    assert read(settings={"a": 2**63 - 1, "b": -(2**63)}).settings == {"a": 2**63 - 1, "b": -(2**63)}


def test_endpoints_are_mended_and_differ() -> None:
    written = [" http://A:1/v1/chat/completions ", "https://b/"]
    assert read(backend="external", endpoints=written).endpoints == ("http://a:1", "https://b")
    _, sentence = problem(backend="external", endpoints=["http://a", "http://a/v1"])
    assert sentence == "endpoints must be different addresses: http://a is given twice"


# ---- any text at all


def is_deployed_or_refused_in_one_sentence(text: str) -> None:
    try:
        spec, _ = read_document(text)
    except DeploymentProblem as found:
        sentence = str(found)
    else:
        kept = json.dumps(write_document(spec), allow_nan=False)
        kept.encode()
        assert read_document(kept) == (spec, [])
        return
    assert 0 < len(sentence) < MAX_MISTAKES * (MAX_SENTENCE + 2) + 100
    sentence.encode()
    assert "\n" not in sentence
    assert "Error" not in sentence


@given(JSON | DOCUMENTS)
def test_any_json_is_deployed_or_refused_in_one_sentence(document: Any) -> None:
    is_deployed_or_refused_in_one_sentence(json.dumps(document))


@given(st.text())
def test_any_text_is_deployed_or_refused_in_one_sentence(text: str) -> None:
    is_deployed_or_refused_in_one_sentence(text)


def test_what_was_written_is_read_as_the_same_deployment() -> None:
    spec = DeploymentSpec(
        model="m",
        backend="command",
        num_gpus=0,
        scaling=Scaling(target=3, min_instances=1, max_instances=2, keep_alive=9.5),
        settings={"a": {"b": [1, None, "ä"]}},
        startup_timeout=1,
        drain_timeout=0,
        hold_limit=0,
        hold_timeout=2.5,
    )
    servers = DeploymentSpec(model="m", backend="external", endpoints=("http://a:1", "https://b"))
    assert read_document(json.dumps(write_document(servers))) == (servers, [])
    document = write_document(spec)
    assert "auto_scaling_config" in document
    assert "backend_config" in document
    assert read_document(json.dumps(document)) == (spec, [])


def test_what_a_document_in_toml_may_hold_and_json_has_not_is_refused() -> None:
    with pytest.raises(DeploymentProblem, match=r"2026-11-27 is a date, which JSON has not"):
        check_value({"model": "a", "labels": [dt.date(2026, 11, 27)]}, "the document")


@pytest.mark.parametrize("name", ["schedules", "sch\\u0065dules"])
def test_a_text_that_names_time_zones_is_known_before_it_is_read(name: str) -> None:
    schedules = '[{"cron": "0 8 * * *", "duration": 60, "min_instances": 1, "timezone": "Asia/Tokyo"}]'
    text = f'{{"model": "m", "auto_scaling_config": {{"{name}": {schedules}}}}}'
    assert may_name_zones(text)
    assert not may_name_zones('{"model": "m", "auto_scaling_config": {"min_instances": 1}}')


@pytest.mark.parametrize("text", ["{}", '{"model": "m", "backend": "?"}', "no JSON"])
def test_the_time_zones_of_a_text_are_read_whatever_else_is_wrong_with_it(text: str) -> None:
    read_zones(text)
    with pytest.raises(DeploymentProblem):
        read_document(text)
