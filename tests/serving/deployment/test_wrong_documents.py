"""The one sentence that the author of a wrong document gets: it names the key, and what may be there."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from sllm_actors.serving.deployment.json_text import check_value
from sllm_actors.serving.deployment.problem import DeploymentProblem

from .documents import problem, problem_of


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the deployment is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("[1]", "the deployment must be a JSON object"),
        ("{}", "the deployment names no model: give the key model"),
        ('{"model": null}', "the deployment names no model: give the key model"),
        ('{"model": "a", "model": "b"}', 'the key "model" is given twice'),
        ('{"model": "a", "settings": {"x": [{"y": 1, "y": 2}]}}', 'the key "y" is given twice'),
        ('{"model": "a", "num_gpus": NaN}', "num_gpus: NaN is not a number that JSON has"),
        ('{"model": "a", "num_gpus": -Infinity}', "num_gpus: -Infinity is not a number that JSON has"),
        ('{"model": "a", "hold_timeout": 1e999}', "hold_timeout: Infinity is not a number that JSON has"),
        ('{"model": "\\ud800"}', 'model: "\\ud800" has half a character in it'),
        ('{"model": "a", "settings": {"\\udfff": 1}}', 'settings: "\\udfff" has half a character in it'),
        ("[" * 100_000, "the deployment is nested more than 32 deep"),
        ('{"settings":' + "[" * 40 + "]" * 40 + "}", "the deployment is nested more than 32 deep"),
    ],
)
def test_text_that_is_no_document_gets_one_sentence(text: str, sentence: str) -> None:
    assert str(problem_of(text)) == sentence


@pytest.mark.parametrize("digits", [str(2**63), str(-(2**63) - 1), "9" * 5000])
def test_a_number_that_no_message_can_carry_is_refused(digits: str) -> None:
    assert "is too large" in str(problem_of('{"model": "m", "settings": {"seed": ' + digits + "}}"))


def test_what_other_documents_have_and_json_has_not_is_refused() -> None:
    with pytest.raises(DeploymentProblem, match=r"^a\.b: 2026-01-01 is a date, which JSON has not$"):
        check_value({"a": {"b": [date(2026, 1, 1)]}}, "it")


@pytest.mark.parametrize(
    ("document", "param", "sentence"),
    [
        ({"modell": "x"}, "modell", 'unknown key "modell": did you mean model?'),
        (
            {"min_instances": 1},
            "min_instances",
            'unknown key "min_instances": did you mean auto_scaling_config.min_instances?',
        ),
        (
            {"auto_scaling_config": {"min_instance": 1}},
            "auto_scaling_config.min_instance",
            'unknown key "auto_scaling_config.min_instance": did you mean min_instances?',
        ),
        (
            {"auto_scaling_config": {}, "scaling": {}},
            "auto_scaling_config",
            "auto_scaling_config is given twice: it means the same as scaling",
        ),
        (
            {"scaling": {"target": 1, "target_ongoing_requests": 2}},
            "scaling.target",
            "scaling.target is given twice: it means the same as scaling.target_ongoing_requests",
        ),
        (
            {"settings": {"dtype": "a", "torch_dtype": "b"}},
            "settings.dtype",
            "settings.dtype is given twice: it means the same as settings.torch_dtype",
        ),
        (
            {"scaling": {"keep_alive_seconds": -5, "target": 1}},
            "scaling.keep_alive_seconds",
            "scaling.keep_alive_seconds must be from 0 to 315360000, or -1, not -5",
        ),
        (
            {"auto_scaling_config": {"target_ongoing_requests": 1.5}},
            "auto_scaling_config.target_ongoing_requests",
            "auto_scaling_config.target_ongoing_requests: 1.5 is not a whole number",
        ),
        ({"settings": "x"}, "settings", "settings must be an object of keys and values"),
        ({"endpoint": 5}, "endpoint", "endpoint must be a list of addresses, not 5"),
        ({"source": "a\0b"}, "source", 'source: "a\\u0000b" has a NUL character in it'),
        (
            {"settings": {"extra": {"a": [{"b\0": 1}]}}},
            "settings.extra.a",
            'settings.extra.a: "b\\u0000" has a NUL character in it',
        ),
        ({"env": {"A": 4}}, "env.A", "env.A: 4 is not a text"),
        ({"env": ["A=4"]}, "env", "env must be an object of keys and values"),
        ({"env": {"A\n": "x"}}, "env", "env: 'A\\n' is no variable: a name is of letters, digits and _"),
        ({"env": {"A\n": 5}}, "env.A\\n", "env.A\\n: 5 is not a text"),
        ({"env": {"TMPDIR": "/x"}}, "env.TMPDIR", "env.TMPDIR cannot be set: each engine gets its own"),
        (
            {"secret_env": {"SLLM_X": "env:A"}},
            "secret_env.SLLM_X",
            "secret_env.SLLM_X cannot be set: it is sllm's own",
        ),
        (
            {"secret_env": {"A": "hunter2"}},
            "secret_env.A",
            "secret_env.A: it is env:NAME (a variable of the worker) or file:/path (a file on the worker)",
        ),
        (
            {"secret_env": {"A": "env:SLLM_CLUSTER_SECRET"}},
            "secret_env.A",
            "secret_env.A: SLLM_CLUSTER_SECRET is not for engines: it is sllm's own",
        ),
        (
            {"env": {"A": "x"}, "secret_env": {"A": "env:B"}},
            "env.A",
            "A is given twice: in env and in secret_env",
        ),
        (
            {"backend": "external", "endpoints": ["http://x"], "env": {"A": "x"}},
            "env",
            "env means nothing to the external backend: no worker starts its servers",
        ),
        (
            {"env": {f"A{number}": "x" for number in range(65)}},
            "env",
            "env must be at most 64 variables, not 65",
        ),
        ({"num_gpus": "1"}, "num_gpus", 'num_gpus: "1" is not a whole number'),
        ({"num_gpus": 1.5}, "num_gpus", "num_gpus: 1.5 is not a whole number"),
        ({"num_gpus": True}, "num_gpus", "num_gpus: true is not a whole number"),
        ({"num_gpus": -1}, "num_gpus", "num_gpus must be from 0 to 1024, not -1"),
        ({"source": 1}, "source", "source: 1 is not a text"),
        ({"source": "x" * 5000}, "source", "source must have at most 4096 characters"),
        ({"hold_timeout": "1"}, "hold_timeout", 'hold_timeout: "1" is not a number'),
        ({"hold_timeout": 0}, "hold_timeout", "hold_timeout must be from 0.001 to 604800, not 0"),
        ({"queue_timeout": 0}, "queue_timeout", "queue_timeout must be from 0.001 to 604800, not 0"),
        ({"queue_timeout": "1"}, "queue_timeout", None),
        ({"max_concurrency": 0}, "max_concurrency", "max_concurrency must be from 1 to 1000000, not 0"),
        (
            {"routing_policy": "random"},
            "routing_policy",
            "routing_policy must be one of p2c, round-robin, session, prefix, not 'random'",
        ),
        ({"routing_policy": 1}, "routing_policy", "routing_policy: 1 is not a text"),
        ({"aliases": 1}, "aliases", "aliases must be a list of names, not 1"),
        ({"aliases": [1]}, "aliases", "aliases: 1 is not a text"),
        ({"aliases": ["a", "b", "a"]}, "aliases", "aliases has 'a' twice"),
        ({"aliases": [f"a{number}" for number in range(33)]}, "aliases", None),
        (
            {"aliases": ["a b"]},
            "aliases",
            None,
        ),
        (
            {"model": "m", "aliases": ["m"]},
            "aliases",
            "aliases has m, which the deployment is called anyway: leave it out",
        ),
        ({"model": "m", "backend": "vllm", "aliases": ["m:vllm"]}, "aliases", None),
        ({"hold_limit": 10**9}, "hold_limit", "hold_limit must be from 0 to 1000000, not 1000000000"),
        (
            {"auto_scaling_config": [1]},
            "auto_scaling_config",
            "auto_scaling_config must be an object of keys and values",
        ),
        ({"backend_config": "x"}, "backend_config", "backend_config must be an object of keys and values"),
        (
            {"auto_scaling_config": {"target": 0}},
            "auto_scaling_config.target",
            "auto_scaling_config.target must be from 1 to 1000000, not 0",
        ),
        (
            {"auto_scaling_config": {"target": "many"}},
            "auto_scaling_config.target",
            'auto_scaling_config.target: "many" is not a whole number',
        ),
        (
            {"auto_scaling_config": {"metric": "rps"}},
            "auto_scaling_config.metric",
            "auto_scaling_config.metric must be concurrency: nothing else is counted",
        ),
        (
            {"auto_scaling_config": {"keep_alive": -0.5}},
            "auto_scaling_config.keep_alive",
            "auto_scaling_config.keep_alive must be from 0 to 315360000, or -1, not -0.5",
        ),
        (
            {"auto_scaling_config": {"min_instances": 2}},
            "auto_scaling_config.min_instances",
            "min_instances (2) is more than max_instances (1): raise max_instances as well",
        ),
        (
            {"auto_scaling_config": {"max_instances": 10**9}},
            "auto_scaling_config.max_instances",
            "auto_scaling_config.max_instances must be from 1 to 256, not 1000000000",
        ),
        (
            {"auto_scaling_config": {"scale_down_delay": -1}},
            "auto_scaling_config.scale_down_delay",
            "auto_scaling_config.scale_down_delay must be from 0 to 604800, not -1",
        ),
        ({"priority": 101}, "priority", "priority must be from -100 to 100, not 101"),
        ({"pinned": "no"}, "pinned", 'pinned: "no" is not true or false'),
        ({"preload": "no"}, "preload", 'preload: "no" is not true or false'),
        ({"pinned": 1}, "pinned", "pinned: 1 is not true or false"),
        (
            {"backend_config": {"pretrained_model_name_or_path": 5}},
            "backend_config.pretrained_model_name_or_path",
            "backend_config.pretrained_model_name_or_path: 5 is not a text",
        ),
        ({"endpoints": {"http://a": 1}}, "endpoints", None),
        ({"endpoints": [1]}, "endpoints", "endpoints: 1 is not a text"),
        ({"endpoints": 1}, "endpoints", "endpoints must be a list of addresses, not 1"),
        ({"backend": "external"}, "endpoints", "an external deployment needs at least one endpoint"),
        (
            {"endpoints": ["http://a"]},
            "endpoints",
            "endpoints belong to the external backend, not to vllm",
        ),
        ({"backend": "Big One"}, "backend", None),
        ({"model": "two words"}, "model", None),
    ],
)
def test_a_wrong_key_is_named(document: dict[str, Any], param: str, sentence: str | None) -> None:
    found = problem(**document)
    assert found[0] == param
    if sentence is not None:
        assert found[1] == sentence


def test_a_key_that_is_close_to_nothing_gets_the_list() -> None:
    assert problem(zzzzzz=1)[1].startswith(
        'unknown key "zzzzzz": known are aliases, auto_scaling_config, backend, '
    )


def test_a_long_key_or_value_is_cut() -> None:
    param, sentence = problem(**{"z" * 5000: 1})
    assert len(sentence) < 500
    assert param is not None
    assert len(param) <= 100
    assert len(problem(num_gpus="9" * 5000)[1]) < 200


@pytest.mark.parametrize(
    "address",
    [
        *("", "a:1", "ftp://a", "http://", "http://[::1", "http://a:99999", "http://a:x", "http://a:0"),
        *("x" * 5000, "http://a\n/v1", "http://a:9\x7f", "http://u:hunter2@a", "http://a?key=hunter2"),
    ],
)
def test_an_endpoint_must_be_an_address(address: str) -> None:
    param, sentence = problem(backend="external", endpoints=[address])
    assert param == "endpoints"
    assert sentence.startswith("endpoints must be addresses: ")
    assert "hunter2" not in sentence
    assert len(sentence) < 400


@pytest.mark.parametrize(("key", "value"), [("source", "hf:a/b"), ("num_gpus", 1)])
def test_what_means_nothing_to_a_server_of_somebody_else_is_refused(key: str, value: Any) -> None:
    param, sentence = problem(backend="external", endpoints=["http://a"], **{key: value})
    assert param == key
    assert sentence.startswith(f"{key} means nothing to the external backend")


def test_endpoints_are_bounded() -> None:
    _, sentence = problem(backend="external", endpoints=[f"http://a:{n}" for n in range(1, 300)])
    assert sentence == "endpoints must be at most 256 addresses, not 299"
