"""Model folders as the Hugging Face libraries write them: configuration and weights. Blocks on the disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attrs import frozen

from .errors import SourceProblem

LARGEST_JSON = 32 * 1024 * 1024
"""Bytes of a configuration or an index of weights that are read at the most."""

_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth")
_INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


@frozen
class Checkpoint:
    """A folder that an engine can load.

    Attributes:
        size: Bytes of the weights.
        quantized: Whether its configuration says that they are.
    """

    folder: Path
    size: int
    quantized: bool = False


def read_checkpoint(folder: Path) -> Checkpoint:
    """Check a model folder: its configuration can be read, and none of its weights is missing.

    Raises:
        SourceProblem: It is not a whole one.
    """
    try:
        if folder.suffix == ".gguf":
            raise SourceProblem(f"{folder} is a GGUF file: deploy it with --backend llamacpp")
        if not folder.exists():
            raise SourceProblem(f"{folder} does not exist on this worker")
        if not folder.is_dir():
            raise SourceProblem(f"{folder} is a file: give the folder with config.json and the weights")
        return _read(folder)
    except OSError as error:
        raise SourceProblem(f"{error.filename or folder} cannot be read: {error.strerror or error}") from None


def _read(folder: Path) -> Checkpoint:
    configuration = folder / "config.json"
    quantized = False
    if not configuration.is_file():
        if any(folder.glob("*.gguf")):
            raise SourceProblem(f"{folder} holds GGUF files: deploy it with --backend llamacpp")
        if not (folder / "params.json").is_file():  # the format of Mistral's own files has that instead
            raise SourceProblem(f"{folder} has no config.json: it is not a model folder")
    else:
        quantized = bool(_read_object(configuration).get("quantization_config"))
    for name in _INDICES:
        index = folder / name
        if index.is_file():
            _check_index(folder, index)
    for pattern in _WEIGHTS:
        files = [path for path in folder.glob(pattern) if path.is_file()]
        if files:
            empty = next((path for path in files if path.stat().st_size == 0), None)
            if empty is not None:
                raise SourceProblem(f"{empty} is empty: the model was not copied whole")
            return Checkpoint(folder, sum(path.stat().st_size for path in files), quantized)
    raise SourceProblem(f"{folder} has no weights: no .safetensors, .bin or .pt file is in it")


def _check_index(folder: Path, index: Path) -> None:
    shards = _read_object(index).get("weight_map")
    names = set(shards.values()) if isinstance(shards, dict) else set()
    missing = sorted(str(name) for name in names if not (folder / str(name)).is_file())
    if missing:
        raise SourceProblem(
            f"{folder} is not whole: {missing[0]} is missing"
            + (f", and {len(missing) - 1} more" if len(missing) > 1 else "")
        )


def _read_object(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        data = file.read(LARGEST_JSON + 1)
    try:
        found = json.loads(data) if len(data) <= LARGEST_JSON else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise SourceProblem(f"{path} cannot be read: it is not a JSON object")
    return found
