"""From a source on this machine to the GGUF file that it means. Reads the disk: call it in a thread."""

from __future__ import annotations

import struct
from pathlib import Path

from sllm_actors.files import open_regular

from .demo_model import demo_file
from .errors import SourceProblem

_GGUF_HEADER = struct.Struct("<4sIQQ")  # magic, version, number of tensors, number of metadata entries


def gguf_file(source: str) -> Path:
    """Return the GGUF file that a source means, with its header checked.

    Args:
        source: ``demo:NAME``, or the absolute path of a file or of a folder with exactly one ``.gguf``.

    Raises:
        SourceProblem: There is none.
    """
    kind, colon, name = source.partition(":")
    path = demo_file(name) if colon and kind == "demo" else _path(source)
    _check_header(path)
    return path


def _path(source: str) -> Path:
    path = Path(source)
    if not path.is_absolute():
        raise SourceProblem(
            f"{source} is not an absolute path: give the whole path of a GGUF file on the worker"
        )
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.gguf"))
    if len(found) != 1:
        what = "no GGUF file" if not found else f"{len(found)} GGUF files: give the path of one of them"
        raise SourceProblem(f"the folder {source} has {what}")
    return found[0]


def _check_header(path: Path) -> None:
    try:
        with open_regular(path) as file:
            head = file.read(_GGUF_HEADER.size)
    except FileNotFoundError:
        raise SourceProblem(f"{path} does not exist on this worker") from None
    except OSError as error:
        raise SourceProblem(f"{path} cannot be read: {error.strerror}") from None
    if not head.startswith(b"GGUF"):
        raise SourceProblem(f"{path} is not a GGUF file")
    if len(head) < _GGUF_HEADER.size:
        raise SourceProblem(f"{path} is not a GGUF file: it ends within its header")
