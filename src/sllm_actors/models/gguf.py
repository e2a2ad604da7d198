"""From a source on this machine to the GGUF model that it means. Reads the disk: call it in a thread."""

from __future__ import annotations

import os
import struct
from collections import defaultdict
from pathlib import Path

from attrs import frozen

from sllm_actors.files import open_regular

from .demo_model import demo_file
from .errors import SourceProblem, list_names, not_whole, unreadable
from .shards import missing_shards, shard_of

PROJECTOR = "mmproj"
"""How the names of GGUF files begin that belong to a model and are none themselves: image projectors."""

_HEADER = struct.Struct("<4sIQQ")  # magic, version, number of tensors, number of metadata entries


@frozen
class GgufModel:
    """A model that llama.cpp can load.

    Attributes:
        file: The model's file, or the first of several: llama.cpp finds the others by their names.
        size: Bytes of all files of the model.
    """

    file: Path
    size: int


def read_gguf(source: str) -> GgufModel:
    """Return the model that a source means. All its files are there, with a header that could be one.

    Args:
        source: ``demo:NAME``; or the absolute path of a file, of the first file of several, or of a folder
            with exactly one model.

    Raises:
        SourceProblem: The source names no model, one that is not whole, or more than one.
    """
    kind, colon, name = source.partition(":")
    path = demo_file(name) if colon and kind == "demo" else _file(source)
    shard = shard_of(path.name)
    if shard is not None and shard.number > 1:
        first = path.with_name(shard.first)
        raise SourceProblem(
            f"{path} is file {shard.number} of {shard.count}: give the path of the first, {first}"
        )
    files = [path] if shard is None else [path.with_name(each) for each in shard.names]
    if missing := missing_shards(each.name for each in files if each.is_symlink() or each.exists()):
        raise not_whole(path.parent, missing)
    return GgufModel(path, sum(_size(each) for each in files))


def _file(source: str) -> Path:
    path = Path(source)
    if not path.is_absolute():
        raise SourceProblem(
            f"{source} is not an absolute path: give the whole path of a GGUF file on the worker"
        )
    try:
        return _model_in(path) if path.is_dir() else path
    except OSError as error:
        raise unreadable(path, error) from None


def _model_in(folder: Path) -> Path:
    models: dict[str, list[str]] = defaultdict(list)
    for path in folder.iterdir():
        if path.suffix == ".gguf":
            shard = shard_of(path.name)
            models[shard.first if shard else path.name].append(path.name)
    chosen = [name for name in models if not name.startswith(PROJECTOR)] or list(models)
    if len(chosen) > 1:
        raise SourceProblem(
            f"{folder} on this worker has {len(chosen)} models: give the path of one of them"
            f" ({list_names(chosen)})"
        )
    if not chosen:
        below = {path.parent.name for path in folder.glob("*/*.gguf")}
        hint = f": give one of its folders ({list_names(below)})" if below else ""
        raise SourceProblem(f"{folder} on this worker has no GGUF file{hint}")
    if missing := missing_shards(models[chosen[0]]):
        raise not_whole(folder, missing)
    return folder / chosen[0]


def _size(path: Path) -> int:
    """Return the size of a file whose header is checked."""
    try:
        with open_regular(path) as file:
            head = file.read(_HEADER.size)
            size = file.seek(0, os.SEEK_END)
    except OSError as error:
        raise unreadable(path, error) from None
    if not head.startswith(b"GGUF"):
        raise SourceProblem(f"{path} on this worker is not a GGUF file")
    if len(head) < _HEADER.size:
        raise SourceProblem(f"{path} on this worker is not a GGUF file: it ends within its header")
    return size
