"""A document with several mistakes: all of them are told at once, each by its key, within a bound."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sllm_actors.serving.deployment.document import read_document
from sllm_actors.serving.deployment.json_text import read_value
from sllm_actors.serving.deployment.problem import MAX_MISTAKES, MAX_SENTENCE, DeploymentProblem


def problem_of(text: str) -> DeploymentProblem:
    with pytest.raises(DeploymentProblem) as raised:
        read_document(text)
    return raised.value


@pytest.mark.parametrize(
    ("document", "mistakes"),
    [
        (
            {"num_gpus": -1, "hold_timeout": "x", "auto_scaling_config": {"target": 0, "min_instances": -2}},
            {
                "num_gpus": "num_gpus must be from 0 to 1024, not -1",
                "auto_scaling_config.target": "auto_scaling_config.target must be from 1 to 1000000, not 0",
                "auto_scaling_config.min_instances": (
                    "auto_scaling_config.min_instances must be from 0 to 256, not -2"
                ),
                "hold_timeout": 'hold_timeout: "x" is not a number',
            },
        ),
        (  # a name that is wrong does not hide what is wrong beside it and below it
            {"modell": 1, "scaling": {"targt": 1, "keep_alive_seconds": -3, "max_instances": "9"}},
            {
                "modell": 'unknown key "modell": did you mean model?',
                "scaling.targt": 'unknown key "scaling.targt": did you mean target?',
                "scaling.max_instances": 'scaling.max_instances: "9" is not a whole number',
                "scaling.keep_alive_seconds": (
                    "scaling.keep_alive_seconds must be from 0 to 315360000, or -1, not -3"
                ),
            },
        ),
        (  # every variable, of either table
            {
                "env": {"A": 4, "B": [], "C": "x"},
                "secret_env": {"SLLM_X": "env:A", "D": "hunter2", "E": "env:E"},
            },
            {
                "env.A": "env.A: 4 is not a text",
                "env.B": "env.B: [] is not a text",
                "secret_env.SLLM_X": "secret_env.SLLM_X cannot be set: it is sllm's own",
                "secret_env.D": (
                    "secret_env.D: it is env:NAME (a variable of the worker) or file:/path "
                    "(a file on the worker)"
                ),
            },
        ),
        (  # what contradicts each other, beside what is wrong by itself
            {
                "backend": "external",
                "source": "hf:a/b",
                "num_gpus": 1,
                "env": {"A": "x"},
                "scaling": {"target": 0, "min_instances": 3},
            },
            {
                "scaling.target": "scaling.target must be from 1 to 1000000, not 0",
                "endpoints": "an external deployment needs at least one endpoint",
                "source": (
                    "source means nothing to the external backend: endpoints say where its servers are, and "
                    "the setting upstream_model what they call the model"
                ),
                "num_gpus": "num_gpus means nothing to the external backend: leave it out",
                "env": "env means nothing to the external backend: no worker starts its servers",
                "auto_scaling_config.min_instances": (
                    "min_instances means nothing to the external backend: it has one replica for each "
                    "endpoint"
                ),
            },
        ),
        (  # no rule about a value that is wrong: which backend is meant is not known
            {"backend": "Big One", "endpoints": ["http://a"], "num_gpus": 1.5},
            {
                "backend": "backend cannot be 'Big One': it is the name of an engine, as vllm or llamacpp",
                "num_gpus": "num_gpus: 1.5 is not a whole number",
            },
        ),
        (  # a value that no JSON has is one mistake, not two, and what is left is read too
            {
                "num_gpus": float("nan"),
                "source": "a\0",
                "env": {"A": "b\0", "B": 1},
                "hold_limit": -1,
                "secret_env": "c\0",
            },
            {
                "num_gpus": "num_gpus: NaN is not a number that JSON has",
                "source": 'source: "a\\u0000" has a NUL character in it',
                "env.A": 'env.A: "b\\u0000" has a NUL character in it',
                "env.B": "env.B: 1 is not a text",
                "secret_env": 'secret_env: "c\\u0000" has a NUL character in it',
                "hold_limit": "hold_limit must be from 0 to 1000000, not -1",
            },
        ),
        (
            {
                "auto_scaling_config": 5,
                "backend_config": [],
                "env": "x",
                "endpoint": 5,
                "endpoints": ["http://a"],
            },
            {
                "auto_scaling_config": "auto_scaling_config must be an object of keys and values",
                "backend_config": "backend_config must be an object of keys and values",
                "env": "env must be an object of keys and values",
                "endpoint": "endpoint must be a list of addresses, not 5",
            },
        ),
        (
            {"settings": {"dtype": 1, "torch_dtype": 2, "pretrained_model_name_or_path": 5}},
            {
                "settings.pretrained_model_name_or_path": (
                    "settings.pretrained_model_name_or_path: 5 is not a text"
                ),
                "settings.dtype": "settings.dtype is given twice: it means the same as settings.torch_dtype",
            },
        ),
    ],
)
def test_all_mistakes_are_named_at_once_each_with_its_key(
    document: dict[str, Any], mistakes: dict[str, str]
) -> None:
    found = problem_of(json.dumps({"model": "m", **document}))
    told = {each.param: each.message for each in found.mistakes}
    if "endpoint" in document:  # which is named as it was typed, and once for both mistakes
        twice = "endpoint is given twice: it means the same as endpoints"
        assert [each.message for each in found.mistakes if each.param == "endpoint"] == [
            twice,
            mistakes["endpoint"],
        ]
    assert told == mistakes
    assert len(found.mistakes) == found.count == len(mistakes) + ("endpoint" in document)
    assert str(found).startswith(f"{found.count} mistakes: ")
    assert found.param == found.mistakes[0].param
    for sentence in mistakes.values():
        assert sentence in str(found)


def test_a_key_given_twice_does_not_hide_the_other_mistakes() -> None:
    found = problem_of('{"model": "m", "model": "n", "num_gpus": ' + "9" * 5000 + ', "hold_limit": true}')
    assert [each.param for each in found.mistakes] == [None, "model", "hold_limit"]
    assert found.param == "model"
    assert found.mistakes[0].message.endswith("... is too large: numbers have at most 64 bits")


def test_several_addresses_that_are_none_are_told() -> None:
    servers = {"model": "m", "backend": "external"}
    sentence = str(
        problem_of(json.dumps(servers | {"endpoints": ["a:1", "ftp://b", "http://c", "http://", "d", "e"]}))
    )
    assert sentence.startswith("endpoints must be addresses: 'a:1' has no http:// or https:// before it")
    assert "'ftp://b' is not an http:// or https:// address; " in sentence
    assert sentence.endswith("; and 2 more")


def test_the_mistakes_that_are_told_are_bounded() -> None:
    found = problem_of(json.dumps({"model": "m", **{f"z{number}" * 60: 1 for number in range(40)}}))
    assert (found.count, len(found.mistakes)) == (40, MAX_MISTAKES)
    assert str(found).startswith("40 mistakes: unknown key ")
    assert str(found).endswith("; and 24 more")
    assert all(len(each.message) <= MAX_SENTENCE for each in found.mistakes)
    assert all(len(each.param or "") <= 100 for each in found.mistakes)
    variables = {f"SLLM_{number}": "x" for number in range(30)}
    found = problem_of(json.dumps({"model": "m", "env": variables, "num_gpus": -1}))
    assert (found.count, len(found.mistakes)) == (31, MAX_MISTAKES)


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ('{"a": NaN, "b": [{"c": "x\\u0000"}], "a": 1}', ["a", "a", "b.c"]),
        ('[1, "\\ud800", 9223372036854775808]', [None, None]),
    ],
)
def test_any_json_value_is_refused_with_every_mistake_in_it(text: str, mistakes: list[str | None]) -> None:
    with pytest.raises(DeploymentProblem) as raised:
        read_value(text, "it")
    assert [each.param for each in raised.value.mistakes] == mistakes
    assert read_value('[{"a": null}]', "it") == [{"a": None}]
