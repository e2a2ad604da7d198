"""What is sent for a deployment: only what the user gave, the command line over the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.cli.document import (
    absolute_source,
    build,
    engine_settings,
    load,
    merge,
    options_as_typed,
    require_model,
)
from sllm_actors.cli.errors import CommandFailure, RequestRefused

json_tables = st.dictionaries(
    st.text(max_size=3),
    st.recursive(
        st.integers() | st.text(max_size=3),
        lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


def built(config: dict[str, Any] | None = None, folder: Path = Path("/here"), **given: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {"scalars": {}, "auto_scaling": {}, "endpoints": (), "engine_args": ()}
    return build(config or {}, folder=folder, **arguments | given)


def test_a_symbolic_link_is_left_for_the_worker_to_follow(tmp_path: Path) -> None:
    """The name of a link may say what the file is: that of a hub's cache is a number."""
    (tmp_path / "0123").write_bytes(b"GGUF")
    (tmp_path / "m-00001-of-00002.gguf").symlink_to("0123")
    (tmp_path / "cache").symlink_to(tmp_path)
    for name in ("m-00001-of-00002.gguf", "./m-00001-of-00002.gguf", "cache/m-00001-of-00002.gguf"):
        assert absolute_source(name, tmp_path) == str(tmp_path / name)
    assert absolute_source("../x", tmp_path) == str(tmp_path.parent / "x")


def test_a_source_that_cannot_be_a_path_is_none_or_says_why(tmp_path: Path) -> None:
    for name in ("x" * 300, "x/" * 3000, "a\0b", ""):
        assert absolute_source(name, tmp_path) == name
    with pytest.raises(
        CommandFailure, match="~nosuchuser/x begins in a home that is not known: give it in full"
    ):
        absolute_source("~nosuchuser/x", tmp_path)


def test_only_what_was_given_is_sent() -> None:
    document = built(
        scalars={"model": "m", "backend": None, "num_gpus": 0},
        auto_scaling={"target": None, "min_instances": 0},
    )
    assert document == {"model": "m", "num_gpus": 0, "auto_scaling_config": {"min_instances": 0}}


def test_options_win_over_the_file_key_by_key() -> None:
    config = {"model": "a", "backend": "vllm", "auto_scaling_config": {"target": 1, "keep_alive": 5}}
    document = built(config, scalars={"model": "b"}, auto_scaling={"target": 8})
    assert document == {
        "model": "b",
        "backend": "vllm",
        "auto_scaling_config": {"target": 8, "keep_alive": 5},
    }


@pytest.mark.parametrize("in_file", [["--a=1"], "--a=1"])
def test_engine_arguments_come_after_those_of_the_file(in_file: Any) -> None:
    config = {"model": "m", "backend_config": {"dtype": "auto", "extra_args": in_file}}
    document = built(config, engine_args=("--a=2",))
    assert document["backend_config"] == {"dtype": "auto", "extra_args": ["--a=1", "--a=2"]}


def test_engine_settings_are_values_and_what_has_a_dash_is_an_argument() -> None:
    given = ["max-model-len=1024", "dtype=auto", "embedding=false", "--enforce-eager", "-tp=2", "empty="]
    assert engine_settings(given) == (
        {"max_model_len": 1024, "dtype": "auto", "embedding": False, "empty": ""},
        ["--enforce-eager", "-tp=2"],
    )
    document = built({"model": "m", "backend_config": {"dtype": "auto", "n": 1}}, engine_args=("n=2",))
    assert document["backend_config"] == {"dtype": "auto", "n": 2}
    with pytest.raises(CommandFailure, match="K=V"):
        engine_settings(["enforce-eager"])


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (
            ["max-len=1", "max_len=2"],
            "--engine-arg max_len is given twice: keep one of them",
        ),
        (['extra={"a": 1, "a": 2}'], '--engine-arg extra: the key "a" is given twice'),
        (['x={"a": "\\u0000"}'], '--engine-arg x: a: "\\u0000" has a NUL character in it'),
        (["seed=99999999999999999999"], "--engine-arg seed: the number 99999999999999999999... is too large"),
    ],
)
def test_a_wrong_engine_argument_is_named_as_it_was_typed(given: list[str], complaint: str) -> None:
    with pytest.raises(CommandFailure) as failure:
        engine_settings(given)
    assert failure.value.message.startswith(complaint)


def test_variables_come_over_those_of_the_file() -> None:
    variables = {"env": {"A": "1"}, "secret_env": {}}
    assert built({"model": "m", "env": {"A": "0", "B": "2"}}, variables=variables) == {
        "model": "m",
        "env": {"A": "1", "B": "2"},
    }
    refused = RequestRefused(400, "env.A B: a variable's name is of letters, digits and _")
    typed = options_as_typed({}, {}, (), (), {"env": {"A B": ""}})
    assert refused.naming(typed).message == "--env A B: a variable's name is of letters, digits and _"


def test_what_json_has_not_is_a_text() -> None:
    assert engine_settings(["a=NaN", "b=-Infinity", "c=" + "[" * 9000])[0] == {
        "a": "NaN",
        "b": "-Infinity",
        "c": "[" * 9000,
    }


def test_options_are_known_by_the_names_that_were_typed() -> None:
    given = {"model": "m", "backend": None, "num_gpus": 3}
    typed = options_as_typed(
        given, {"min_instances": 3, "target": None}, ["http://x"], ["n-parallel=0", "-x"]
    )
    refused = RequestRefused(400, "auto_scaling_config.min_instances must be from 0 to 256, not 300")
    assert refused.naming(typed).message == "--min-instances must be from 0 to 256, not 300"
    for sentence, named in [
        ("min_instances (3) is too much for x", "--min-instances (3) is too much for x"),
        ("num_gpus: 1.5 is not a whole number", "--num-gpus: 1.5 is not a whole number"),
        ("n_parallel must be a whole number", "--engine-arg n-parallel must be a whole number"),
        ("endpoints must be addresses", "--endpoint must be addresses"),
        ("model must have 1 to 256 characters", "--model must have 1 to 256 characters"),
        ("there is no such model", "there is no such model"),
        ("backend cannot be 'x'", "backend cannot be 'x'"),
    ]:
        assert RequestRefused(400, sentence).naming(typed).message == named


def test_a_document_without_a_model_is_refused() -> None:
    with pytest.raises(CommandFailure, match="--model"):
        require_model(built({"backend": "vllm"}))


def test_local_sources_are_made_absolute_and_others_left_alone(tmp_path: Path) -> None:
    (tmp_path / "weights.gguf").touch()
    assert absolute_source("weights.gguf", tmp_path) == str(tmp_path / "weights.gguf")
    assert absolute_source("./later", tmp_path) == str(tmp_path / "later")
    assert absolute_source("/models/x", tmp_path) == "/models/x"
    assert absolute_source("~/x", tmp_path) == str(Path.home() / "x")
    for source in ("hf:facebook/opt-1.3b", "demo:smollm2-135m", "facebook/opt-1.3b"):
        assert absolute_source(source, tmp_path) == source


def test_a_model_named_by_a_path_keeps_its_name(tmp_path: Path) -> None:
    document = built(folder=tmp_path, scalars={"model": "./opt"})
    assert document == {"model": "./opt", "source": str(tmp_path / "opt")}


@pytest.mark.parametrize(
    ("model", "name"),
    [("hf:org/name", "org/name"), ("hf:org/name@main", "org/name"), ("demo:smollm2-135m", "smollm2-135m")],
)
def test_a_model_named_by_its_source_is_called_by_its_name_there(model: str, name: str) -> None:
    assert built(scalars={"model": model}) == {"model": name, "source": model}
    assert built(scalars={"model": model, "source": "hf:other/one"})["model"] == model


def test_files_are_read_as_json_or_toml(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text('{"model": "m", "source": "./w"}')
    (tmp_path / "d.toml").write_text('model = "m"\n[auto_scaling_config]\ntarget = 3\n')
    assert load(tmp_path / "d.json") == {"model": "m", "source": str(tmp_path / "w")}
    assert load(tmp_path / "d.toml") == {"model": "m", "auto_scaling_config": {"target": 3}}
    for name in ("d.json", "d.toml"):
        plain = load(tmp_path / name)
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + (tmp_path / name).read_bytes())
        assert load(tmp_path / name) == plain, "a byte order mark means nothing"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("d.yaml", "model: m", "ends in .json or .toml"),
        ("d.json", "{", "not valid JSON"),
        ("d.json", "[1]", "no table of keys"),
        ("d.json", '{"target": NaN}', "not valid JSON"),
        ("d.json", "[" * 60_000, "not valid JSON"),
        ("d.json", " " * (2**16 + 1), "larger than 64 KiB"),
        ("d.toml", "since = 2026-01-01", "not valid TOML"),
        ("d.toml", "model = ", "not valid TOML"),
        ("d.json", '{"backend_config": {"a": [{"b": 1, "b": 2}]}}', 'the key "b" is given twice'),
        ("d.toml", 'model = "a"\nmodel = "b"', "not valid TOML"),
        ("d.toml", "[backend_config]\nx = [{a = 1, a = 2}]", "not valid TOML"),
        ("d.toml", "[backend_config]\nx = [nan]", "backend_config.x: NaN is not a number"),
        ("d.toml", "[backend_config]\nx = 9999999999999999999999", "backend_config.x: the number 9999"),
        ("d.toml", 'source = "a\\u0000b"', 'source: "a\\u0000b" has a NUL'),
        ("d.json", '{"source": "a\\u0000b"}', 'source: "a\\u0000b" has a NUL'),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(
    tmp_path: Path, name: str, content: str, complaint: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CommandFailure) as failure:
        load(tmp_path / name)
    assert name in failure.value.message
    assert complaint in failure.value.message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandFailure, match="cannot be read: No such file"):
        load(tmp_path / "gone.json")


@given(under=json_tables, over=json_tables)
def test_merging_keeps_everything_that_is_not_overruled(under: dict[str, Any], over: dict[str, Any]) -> None:
    merged = merge(under, over)
    assert merged.keys() == under.keys() | over.keys()
    assert merge(merged, over) == merged
    assert merge({}, over) == over
    assert merge(under, {}) == under
    assert json.loads(json.dumps(merged)) == merged
