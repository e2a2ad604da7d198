"""What an update changes: the patch, the keys that differ, and whether engines have to be started anew."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from typing import Any

import attrs
import pytest
from hypothesis import given

from sllm_actors.serving.deployment.changes import (
    ENGINE,
    IDENTITY,
    POLICY,
    SHOWN_KEYS,
    differing_keys,
    engine_hash,
    engine_part,
    is_engine_change,
    merged,
    read_patch,
    shown_keys,
    with_policy,
)
from sllm_actors.serving.deployment.document import MAX_DOCUMENT, read_document, write_document
from sllm_actors.serving.deployment.problem import DeploymentProblem
from sllm_actors.serving.deployment.spec import DeploymentSpec, Scaling

from .specs import DOCUMENTS, ENGINES, JSON, PAIRS

FIXED = "since it is part of the id m:vllm: deploy another one, and delete this one"
SPEC = DeploymentSpec(
    model="m",
    source="hf:a/b",
    num_gpus=1,
    scaling=Scaling(target=4, min_instances=1, max_instances=3, keep_alive=60),
    settings={"dtype": "half", "max_model_len": 1024, "hf_overrides": {"a": 1, "b": 2}},
    env={"MODE": "x"},
    hold_limit=7,
)


def patched(**patch: Any) -> DeploymentSpec:
    spec, warnings = read_patch(SPEC, json.dumps(patch))
    assert warnings == []
    return spec


def problem(patch: str, spec: DeploymentSpec = SPEC) -> DeploymentProblem:
    with pytest.raises(DeploymentProblem) as raised:
        read_patch(spec, patch)
    return raised.value


# ---- engine and policy


def test_every_attribute_is_of_the_id_the_engine_or_the_policy() -> None:
    assert sorted([*IDENTITY, *ENGINE, *POLICY]) == sorted(attrs.fields_dict(DeploymentSpec))


@pytest.mark.parametrize(
    ("change", "engine"),
    [
        ({"source": "hf:c/d"}, True),
        ({"num_gpus": 2}, True),
        ({"num_gpus": None}, True),
        ({"settings": {}}, True),
        ({"env": {}}, True),
        ({"secret_env": {"A": "env:B"}}, True),
        ({"scaling": Scaling()}, False),
        ({"startup_timeout": 1}, False),
        ({"drain_timeout": 1}, False),
        ({"hold_limit": 1}, False),
        ({"hold_timeout": 1}, False),
        ({"queue_timeout": 1}, False),
        ({"routing_policy": "prefix"}, False),
        ({"max_concurrency": 1}, False),
        ({"aliases": ("a",)}, False),
        ({}, False),
    ],
)
def test_only_what_an_engine_is_started_with_makes_a_new_revision(
    change: dict[str, Any], engine: bool
) -> None:
    new = attrs.evolve(SPEC, **change)
    assert is_engine_change(SPEC, new) is engine
    assert (engine_hash(SPEC) != engine_hash(new)) is engine
    assert (differing_keys(SPEC, new) == ()) is (change == {})


def test_the_hash_depends_on_no_order_and_no_process() -> None:
    turned = attrs.evolve(SPEC, settings=dict(reversed(SPEC.settings.items())))
    assert (engine_hash(turned), is_engine_change(SPEC, turned)) == (engine_hash(SPEC), False)
    canonical = json.dumps(engine_part(SPEC), sort_keys=True, separators=(",", ":"))
    assert engine_hash(SPEC) == hashlib.sha256(canonical.encode()).hexdigest()
    assert canonical == (
        '{"backend":"vllm","endpoints":[],"env":{"MODE":"x"},"model":"m","num_gpus":1,"secret_env":{},'
        '"settings":{"dtype":"half","hf_overrides":{"a":1,"b":2},"max_model_len":1024},"source":"hf:a/b"}'
    )


@pytest.mark.parametrize(("one", "other"), [(True, 1), (1, 1.0), (0, False), ("1", 1)])
def test_values_that_engines_tell_apart_are_different(one: Any, other: Any) -> None:
    before, after = (attrs.evolve(SPEC, settings={"a": value}) for value in (one, other))
    assert is_engine_change(before, after)
    assert engine_hash(before) != engine_hash(after)
    assert differing_keys(before, after) == ("backend_config.a",)


def test_the_policy_of_one_goes_with_the_engine_of_the_other() -> None:
    other = DeploymentSpec(model="m", hold_limit=9, drain_timeout=3, scaling=Scaling(target=2), num_gpus=4)
    mixed = with_policy(SPEC, other)
    assert not is_engine_change(SPEC, mixed)
    assert (mixed.hold_limit, mixed.drain_timeout, mixed.scaling) == (9, 3, Scaling(target=2))
    assert differing_keys(mixed, other) == differing_keys(
        SPEC, attrs.evolve(other, scaling=SPEC.scaling, hold_limit=7, drain_timeout=30)
    )


# ---- the keys that differ


def test_the_keys_that_differ_are_named_as_people_type_them() -> None:
    new = DeploymentSpec(
        model="m",
        source="/models/a",
        scaling=Scaling(target=4, min_instances=2, max_instances=3, keep_alive=60),
        settings={"dtype": "half", "max_model_len": 2048, "hf_overrides": {"a": 1, "b": 3}, "new\nline": 1},
        secret_env={"TOKEN": "env:T"},
        hold_limit=7,
    )
    assert differing_keys(SPEC, new) == (
        "auto_scaling_config.min_instances",
        "backend_config.hf_overrides",
        "backend_config.max_model_len",
        "backend_config.new\\nline",
        "env.MODE",
        "num_gpus",
        "secret_env.TOKEN",
        "source",
    )


def test_of_many_keys_a_sentence_names_the_first() -> None:
    assert shown_keys(["a"]) == "a"
    assert shown_keys([f"k{number}" for number in range(SHOWN_KEYS)]).endswith(f", k{SHOWN_KEYS - 1}")
    assert shown_keys([f"k{number}" for number in range(SHOWN_KEYS + 2)]).endswith(
        f", k{SHOWN_KEYS - 1} and 2 more"
    )


# ---- patches


def test_what_a_patch_leaves_out_stays_and_null_brings_back_the_default() -> None:
    assert patched() == SPEC
    assert patched(num_gpus=2) == attrs.evolve(SPEC, num_gpus=2)
    assert patched(num_gpus=None, hold_limit=None, source=None) == attrs.evolve(
        SPEC, num_gpus=None, hold_limit=1024, source=""
    )
    assert patched(auto_scaling_config={"target": None, "max_instances": 5}).scaling == Scaling(
        target=8, min_instances=1, max_instances=5, keep_alive=60
    )
    assert patched(auto_scaling_config=None).scaling == Scaling()
    assert patched(backend_config=None, env=None) == attrs.evolve(SPEC, settings={}, env={})
    assert patched(backend_config={"dtype": None, "x": {"y": None, "z": [None]}}).settings == {
        "max_model_len": 1024,
        "hf_overrides": {"a": 1, "b": 2},
        "x": {"z": [None]},
    }
    assert patched(backend_config={"hf_overrides": {"b": None}}).settings["hf_overrides"] == {"a": 1}


@pytest.mark.parametrize("names", ["old", "new"])
def test_old_and_new_names_mean_the_same_key(names: str) -> None:
    scaling, settings = (
        ("auto_scaling_config", "backend_config") if names == "old" else ("scaling", "settings")
    )
    assert patched(**{scaling: {"target": 5}}).scaling.target == 5
    assert patched(**{scaling: {"target_ongoing_requests": 5, "keep_alive_seconds": None}}).scaling == (
        Scaling(target=5, min_instances=1, max_instances=3)
    )
    assert patched(**{settings: {"torch_dtype": "bfloat16"}}).settings["dtype"] == "bfloat16"
    assert "dtype" not in patched(**{settings: {"torch_dtype": None}}).settings
    assert patched(**{settings: {"pretrained_model_name_or_path": "c/d"}}).source == "hf:c/d"
    assert patched(**{settings: {"pretrained_model_name_or_path": "/c"}}).source == "/c"
    assert patched(**{settings: {"pretrained_model_name_or_path": None}}).source == ""
    assert patched(**{settings: {"pretrained_model_name_or_path": ""}}).source == ""


def test_endpoints_are_replaced_whether_given_as_one_or_as_a_list() -> None:
    spec = DeploymentSpec(model="m", backend="external", endpoints=("http://a", "http://b"))
    for patch in ({"endpoint": "http://c/v1"}, {"endpoints": ["http://c"]}):
        assert read_patch(spec, json.dumps(patch))[0].endpoints == ("http://c",)
    assert str(problem('{"endpoint": null}', spec)) == "an external deployment needs at least one endpoint"


def test_a_source_goes_before_the_path_in_the_settings() -> None:
    for place, warned in (("c/d", True), (None, False)):
        patch = {"source": "/x", "settings": {"pretrained_model_name_or_path": place}}
        spec, warnings = read_patch(SPEC, json.dumps(patch))
        assert (spec.source, bool(warnings)) == ("/x", warned)


def test_a_variable_moves_to_the_secrets_in_one_patch() -> None:
    spec = patched(env={"MODE": None}, secret_env={"MODE": "env:M"})
    assert (spec.env, spec.secret_env) == ({}, {"MODE": "env:M"})
    assert (
        str(problem('{"secret_env": {"MODE": "env:M"}}')) == "MODE is given twice: in env and in secret_env"
    )


def test_a_patch_is_warned_of_what_it_says_and_not_of_what_was_there() -> None:
    spec = attrs.evolve(SPEC, env={"HF_TOKEN": "x"})
    assert read_patch(spec, '{"hold_limit": 1}')[1] == []
    _, warnings = read_patch(spec, '{"env": {"MY_TOKEN": "y"}, "router_config": {}}')
    assert [warning.split(" ")[0] for warning in warnings] == ["router_config", "env.MY_TOKEN"]


@pytest.mark.parametrize(
    ("patch", "sentence"),
    [
        ("", "the patch is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("[]", "the patch must be a JSON object"),
        ("null", "the patch must be a JSON object"),
        ('{"num_gpus": 1, "num_gpus": 2}', 'the key "num_gpus" is given twice'),
        ('{"model": "n"}', f'model cannot be changed to "n", {FIXED}'),
        ('{"backend": null}', f"backend cannot be changed to null, {FIXED}"),
        ('{"auto_scaling_config": 1}', "auto_scaling_config must be an object of keys and values"),
        (
            '{"auto_scaling_config": {"min_instances": 9}}',
            "min_instances (9) is more than max_instances (3): raise max_instances as well",
        ),
        (
            '{"num_gpu": 1, "scaling": {"target": 0}, "model": 5}',
            (
                '3 mistakes: unknown key "num_gpu": did you mean num_gpus?; '
                f"model cannot be changed to 5, {FIXED}; scaling.target must be from 1 to 1000000, not 0"
            ),
        ),
        (
            '{"settings": {"dtype": null, "torch_dtype": "half"}}',
            "settings.dtype is given twice: it means the same as settings.torch_dtype",
        ),
    ],
)
def test_a_patch_that_makes_no_sense_is_refused_with_every_mistake(patch: str, sentence: str) -> None:
    assert str(problem(patch)) == sentence


def test_the_model_and_backend_may_be_repeated() -> None:
    assert patched(model="m", backend="vllm", num_gpus=1) == SPEC


def test_a_deployment_does_not_grow_without_bound_by_patches() -> None:
    half = {"settings": {"a": "x" * (MAX_DOCUMENT // 2)}}
    grown, _ = read_patch(SPEC, json.dumps(half))
    sentence = f"the deployment would have more than {MAX_DOCUMENT} bytes"
    assert str(problem(json.dumps({"settings": {"b": "x" * (MAX_DOCUMENT // 2)}}), grown)) == sentence


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # the test cases of RFC 7396, appendix A, whose target and patch are objects
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_is_that_of_the_standard(
    target: dict[str, Any], patch: dict[str, Any], result: dict[str, Any]
) -> None:
    assert merged(target, patch) == result


# ---- any deployments at all


def difference(old: Any, new: Any) -> Any:
    """Return the merge patch that makes ``new`` of ``old``."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    gone = dict.fromkeys(old.keys() - new.keys())
    return gone | {
        key: difference(old.get(key), new[key])
        for key in new
        if json.dumps(old.get(key)) != json.dumps(new[key])  # 1, 1.0 and true are different here
    }


def document_of(spec: DeploymentSpec) -> dict[str, Any]:
    """Return a deployment's document as JSON has it; what is at its default is not there."""
    document = json.loads(json.dumps(write_document(spec)))
    return {key: value for key, value in document.items() if value is not None}


@given(PAIRS)
def test_the_patch_between_two_deployments_leads_from_one_to_the_other(
    pair: tuple[DeploymentSpec, DeploymentSpec],
) -> None:
    old, new = pair
    patch = difference(document_of(old), document_of(new))
    changed, _ = read_patch(old, json.dumps(patch))
    assert (changed, differing_keys(changed, new)) == (new, ())
    assert engine_hash(changed) == engine_hash(new)
    assert read_document(json.dumps(write_document(changed)))[0] == changed


@given(ENGINES, JSON | DOCUMENTS)
def test_any_patch_is_applied_or_refused_in_one_sentence(spec: DeploymentSpec, patch: Any) -> None:
    try:
        changed, _ = read_patch(spec, json.dumps(patch))
    except DeploymentProblem as found:
        sentence = str(found)
    else:
        sentence = "it is applied"
        is_applied_for_good(spec, changed, json.dumps(patch))
    assert sentence.isprintable()


def is_applied_for_good(spec: DeploymentSpec, changed: DeploymentSpec, patch: str) -> None:
    assert read_document(json.dumps(write_document(changed)))[0] == changed
    assert changed.id == spec.id
    again, _ = read_patch(changed, patch)
    assert differing_keys(changed, again) == ()


@given(PAIRS)
def test_keys_hash_and_kind_of_change_agree(pair: tuple[DeploymentSpec, DeploymentSpec]) -> None:
    old, new = pair
    mixed = with_policy(old, new)
    assert not is_engine_change(old, mixed)
    assert (engine_hash(old) == engine_hash(new)) is not is_engine_change(old, new)
    policy_only = set(differing_keys(old, mixed))
    assert set(differing_keys(old, new)) == policy_only | set(differing_keys(mixed, new))
    assert (set(differing_keys(old, new)) == policy_only) is not is_engine_change(old, new)


@given(ENGINES)
def test_a_deployment_that_was_kept_and_read_again_has_its_hash(spec: DeploymentSpec) -> None:
    kept, _ = read_document(json.dumps(write_document(spec)))
    assert (engine_hash(kept), differing_keys(spec, kept)) == (engine_hash(spec), ())


def test_another_process_computes_the_same_hash() -> None:
    program = (
        "from sllm_actors.serving.deployment.changes import engine_hash\n"
        "from sllm_actors.serving.deployment.document import read_document\n"
        "import sys; print(engine_hash(read_document(sys.argv[1])[0]))"
    )
    document = json.dumps(write_document(SPEC))
    said = subprocess.run(
        [sys.executable, "-c", program, document], capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout.strip() == engine_hash(SPEC)
