"""Model folders as the Hugging Face libraries write them: configuration and weights. Blocks on the disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from .errors import SourceProblem, list_names, not_whole, unreadable
from .shards import missing_shards

LARGEST_JSON = 32 * 1024 * 1024
"""Bytes of a configuration or an index of weights that are read at the most."""

_WEIGHTS = {
    "*.safetensors": "model.safetensors.index.json",
    "*.bin": "pytorch_model.bin.index.json",
    "*.pt": "",
    "*.pth": "",
}
"""The kinds of weights, the first of which is loaded, and the file that lists those of a kind."""

_CONFIGURATIONS = ("*/config.json", "snapshots/*/config.json")
"""Where model folders may be inside a folder that is none itself."""


@frozen
class Checkpoint:
    """A folder that an engine can load.

    Attributes:
        size: Bytes of the weights.
        quantized: Whether the configuration says that the weights are quantized.
        configuration: What ``config.json`` has in it, or ``params.json`` of Mistral's own format.
    """

    folder: Path
    size: int
    quantized: bool = False
    configuration: Mapping[str, Any] = field(factory=dict, repr=False)


def read_checkpoint(source: str) -> Checkpoint:
    """Check a model folder: its configuration can be read, and none of its weights is missing.

    Args:
        source: The absolute path of the folder.

    Raises:
        SourceProblem: The path is no model folder, or its model is not whole.
    """
    folder = Path(source)
    if not folder.is_absolute():
        raise SourceProblem(
            f"{source} is not an absolute path: give the whole path of a folder on the worker"
        )
    try:
        if folder.suffix == ".gguf":
            raise SourceProblem(f"{folder} is a GGUF file: deploy it with --backend llamacpp")
        folder.stat()
        if not folder.is_dir():
            raise SourceProblem(
                f"{folder} on this worker is a file: give the folder with config.json and the weights"
            )
        return _read(folder)
    except OSError as error:
        raise unreadable(Path(error.filename or folder), error) from None


def _read(folder: Path) -> Checkpoint:
    configuration = folder / "config.json"
    plain = folder / "params.json"  # the format of Mistral's own files has that instead
    if not configuration.is_file():
        if any(folder.glob("*.gguf")):
            raise SourceProblem(
                f"{folder} on this worker holds GGUF files: deploy it with --backend llamacpp"
            )
        if not plain.is_file():
            raise _no_model(folder)
        configuration = plain
    said = _read_object(configuration)
    quantized = bool(said.get("quantization_config"))
    for pattern, index in _WEIGHTS.items():
        if files := [path for path in folder.glob(pattern) if path.is_symlink() or path.is_file()]:
            return Checkpoint(folder, _whole(folder, files, index), quantized, said)
    for index in filter(None, _WEIGHTS.values()):
        _whole(folder, [], index)
    raise SourceProblem(f"{folder} on this worker has no weights: no .safetensors, .bin or .pt file is in it")


def _no_model(folder: Path) -> SourceProblem:
    below = {str(path.parent.relative_to(folder)) for each in _CONFIGURATIONS for path in folder.glob(each)}
    hint = (
        f": give one of the model folders in it ({list_names(below)})"
        if below
        else ": it is not a model folder"
    )
    return SourceProblem(f"{folder} on this worker has no config.json{hint}")


def _whole(folder: Path, files: list[Path], index: str) -> int:
    """Return the size of weights of one kind of which none is missing, neither of its index nor of a set."""
    if index and (folder / index).is_file():
        shards = _read_object(folder / index).get("weight_map")
        listed = set(map(str, shards.values())) if isinstance(shards, dict) else set()
        missing = sorted(name for name in listed if not (folder / name).exists())
    else:
        missing = missing_shards(path.name for path in files)
    if missing:
        raise not_whole(folder, missing)
    sizes = {path: path.stat().st_size for path in sorted(files)}
    empty = next((path for path, size in sizes.items() if size == 0), None)
    if empty is not None:
        raise SourceProblem(f"{empty} on this worker is empty: the model was not copied whole")
    return sum(sizes.values())


def _read_object(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        data = file.read(LARGEST_JSON + 1)
    try:
        found = json.loads(data) if len(data) <= LARGEST_JSON else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise SourceProblem(f"{path} on this worker cannot be read: it is not a JSON object")
    return found
