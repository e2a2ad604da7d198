"""Lists of the modules that engines of the pinned versions import only after their start.

A fork server imports them beforehand, so that even the first engine on a worker need not. ``make
known-imports`` makes a list from a real run; the lists are in the folder ``known``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import frozen

from .late_imports import PRELOAD

KNOWN = Path(__file__).with_name("known")
MODULES = "MODULES="
"""Begins the line of a list that has ``KnownImports.count``."""

PACKAGES = "$PACKAGES"
"""In a list, stands for the folder that the engine's package is installed in."""


@frozen
class KnownImports:
    """What the list of one version of an engine says; empty for a version without a list.

    Attributes:
        modules: Names of the modules that it imports late. Not all of them need be installed.
        preload: The ``LD_PRELOAD`` that its processes ask for, or "".
        count: How many modules a fork server has in all once it has imported these, or 0 if unknown.
    """

    modules: tuple[str, ...] = ()
    preload: str = ""
    count: int = 0


NOTHING = KnownImports()


def known_list(backend: str, version: str, *, cpu: bool) -> Path:
    """Return the path of a version's list, which need not exist.

    Args:
        version: The version of the engine's package; a local part, as in ``0.32.0+cpu``, is ignored.
        cpu: Whether it is a build for CPUs, which imports other modules.
    """
    return KNOWN / f"{backend}-{version.partition('+')[0]}-{'cpu' if cpu else 'gpu'}.txt"


def read_known_imports(path: Path, packages: str) -> KnownImports:
    """Read a list; return an empty ``KnownImports`` if there is none. Blocks on the disk.

    Args:
        path: See ``known_list``.
        packages: The folder that the engine's package is installed in. The list's ``LD_PRELOAD`` is returned
            only if all its libraries exist.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return KnownImports()
    count = next((int(line.removeprefix(MODULES)) for line in lines if line.startswith(MODULES)), 0)
    preload = next((line.removeprefix(PRELOAD) for line in lines if line.startswith(PRELOAD)), "")
    preload = preload.replace(PACKAGES, packages)
    there = bool(packages) and all(Path(library).is_file() for library in preload.split(":"))
    return KnownImports(tuple(_modules(lines)), preload if there else "", count)


def write_known_imports(path: Path, known: KnownImports, packages: str, title: str) -> None:
    """Write a list, for ``read_known_imports``. Blocks on the disk.

    Args:
        packages: The folder that the engine's package is installed in.
        title: The first line, a comment: which engine this is, and how the list was made.
    """
    path.parent.mkdir(exist_ok=True)
    preload = known.preload.replace(packages, PACKAGES)
    head = [f"# {title}", f"{MODULES}{known.count}", *([f"{PRELOAD}{preload}"] if preload else [])]
    path.write_text("\n".join([*head, *known.modules]) + "\n", encoding="ascii")


def _modules(lines: Iterable[str]) -> Iterator[str]:
    return (line for line in lines if line and "=" not in line and not line.startswith("#"))
