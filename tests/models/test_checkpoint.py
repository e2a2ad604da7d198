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
        read_checkpoint(folder)
    return str(raised.value)


def test_a_whole_folder_tells_the_size_of_its_weights(model: Path) -> None:
    (model / "pytorch_model.bin").write_bytes(b"the same weights once more: not loaded")
    assert read_checkpoint(model).size == 5


def test_what_is_missing_is_named(model: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert problem(model) == f"{model} is not whole: model-1.safetensors is missing, and 1 more"
    (model / "model-1.safetensors").touch()
    (model / "model-2.safetensors").write_bytes(b"1")
    assert problem(model) == f"{model}/model-1.safetensors is empty: the model was not copied whole"


def test_a_folder_that_is_no_model_says_why(model: Path) -> None:
    (model / "model.safetensors").unlink()
    assert problem(model).startswith(f"{model} has no weights")
    (model / "config.json").write_text("{")
    assert problem(model) == f"{model}/config.json cannot be read: it is not a JSON object"
    (model / "config.json").unlink()
    assert problem(model) == f"{model} has no config.json: it is not a model folder"
    assert problem(model / "nothing") == f"{model}/nothing does not exist on this worker"


def test_gguf_files_belong_to_llama_cpp(model: Path) -> None:
    file = model / "model.gguf"
    file.touch()
    assert problem(file) == f"{file} is a GGUF file: deploy it with --backend llamacpp"
    (model / "config.json").unlink()
    assert problem(model) == f"{model} holds GGUF files: deploy it with --backend llamacpp"


def test_a_file_is_not_a_folder(model: Path) -> None:
    file = model / "config.json"
    assert problem(file) == f"{file} is a file: give the folder with config.json and the weights"
