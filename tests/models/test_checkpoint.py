"""Model folders: what is whole, and which sentence names what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sllm_actors.models.checkpoint import read_checkpoint
from sllm_actors.models.errors import SourceProblem


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A whole model folder, as far as that can be told without loading it."""
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "model.safetensors").write_bytes(b"12345")
    return tmp_path


def problem(folder: Path) -> str:
    with pytest.raises(SourceProblem) as raised:
        read_checkpoint(str(folder))
    return str(raised.value)


def test_a_whole_folder_tells_the_size_of_its_weights(model: Path) -> None:
    (model / "pytorch_model.bin").write_bytes(b"the same weights once more: not loaded")
    assert read_checkpoint(str(model)).size == 5


def test_what_is_missing_is_named(model: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert (
        problem(model) == f"{model} on this worker is not whole: model-1.safetensors is missing, and 1 more"
    )
    (model / "model-1.safetensors").touch()
    (model / "model-2.safetensors").write_bytes(b"1")
    assert (
        problem(model)
        == f"{model}/model-1.safetensors on this worker is empty: the model was not copied whole"
    )


def test_a_folder_that_is_no_model_says_why(model: Path) -> None:
    (model / "model.safetensors").unlink()
    assert problem(model).startswith(f"{model} on this worker has no weights")
    (model / "config.json").write_text("{")
    assert problem(model) == f"{model}/config.json on this worker cannot be read: it is not a JSON object"
    (model / "config.json").unlink()
    assert problem(model) == f"{model} on this worker has no config.json: it is not a model folder"
    assert problem(model / "nothing") == f"{model}/nothing does not exist on this worker"


def test_gguf_files_belong_to_llama_cpp(model: Path) -> None:
    file = model / "model.gguf"
    file.touch()
    assert problem(file) == f"{file} is a GGUF file: deploy it with --backend llamacpp"
    (model / "config.json").unlink()
    assert problem(model) == f"{model} on this worker holds GGUF files: deploy it with --backend llamacpp"


def test_a_file_is_not_a_folder(model: Path) -> None:
    file = model / "config.json"
    assert (
        problem(file) == f"{file} on this worker is a file: give the folder with config.json and the weights"
    )


def test_files_of_a_set_without_an_index_have_to_be_there_all(model: Path) -> None:
    (model / "model.safetensors").rename(model / "model-00002-of-00003.safetensors")
    sentence = f"{model} on this worker is not whole: model-00001-of-00003.safetensors is missing, and 1 more"
    assert problem(model) == sentence
    (model / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "model-00002-of-00003.safetensors"}}'
    )
    assert read_checkpoint(str(model)).size == 5  # the index knows better


def test_the_index_of_another_format_that_was_left_out_does_not_matter(model: Path) -> None:
    index = json.dumps({"weight_map": {"a": "pytorch_model-00001-of-00002.bin"}})
    (model / "pytorch_model.bin.index.json").write_text(index)
    assert read_checkpoint(str(model)).size == 5
    (model / "model.safetensors").unlink()
    assert (
        problem(model) == f"{model} on this worker is not whole: pytorch_model-00001-of-00002.bin is missing"
    )


def test_links_to_files_with_other_names_are_followed_and_broken_ones_named(model: Path) -> None:
    blob = model / "0123abcd"
    (model / "model.safetensors").rename(blob)
    (model / "model.safetensors").symlink_to("0123abcd")
    assert read_checkpoint(str(model)).size == 5
    blob.unlink()
    link = f"{model}/model.safetensors on this worker is a link to 0123abcd"
    assert problem(model) == f"{link}, which does not exist"


def test_model_folders_in_a_folder_that_is_none_are_listed(model: Path) -> None:
    for name in ("b", "a", "snapshots/0123"):
        (model / name).mkdir(parents=True)
        (model / name / "config.json").write_text("{}")
    (model / "config.json").unlink()
    assert problem(model) == (
        f"{model} on this worker has no config.json:"
        " give one of the model folders in it (a, b, snapshots/0123)"
    )


def test_a_path_has_to_be_whole() -> None:
    assert problem(Path("org/name")) == (
        "org/name is not an absolute path: give the whole path of a folder on the worker"
    )
