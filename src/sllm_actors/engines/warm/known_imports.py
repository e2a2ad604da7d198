"""What engines of the pinned versions are known to import late, so that already the first one need not.

A list is made from a real run by ``make known-imports``, and lies in the folder ``known``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import frozen

from .late_imports import PRELOAD

KNOWN = Path(__file__).with_name("known")
MODULES = "MODULES="
PACKAGES = "$PACKAGES"
"""In a list, stands for the folder that the engine's package is installed in."""


@frozen
class KnownImports:
    """What is known of one version of an engine before any ran here; nothing of most.

    Attributes:
        modules: What it imports late. Not all of it need be installed.
        preload: The ``LD_PRELOAD`` that its processes ask for, or "".
        count: How many modules a fork server has that imported all this, or 0.
    """

    modules: tuple[str, ...] = ()
    preload: str = ""
    count: int = 0


NOTHING = KnownImports()


def known_list(backend: str, version: str, *, cpu: bool) -> Path:
    """Return where the list of a version is, if there is one: builds for CPUs import other modules.

    Args:
        version: Of its package; a local part, as in ``0.32.0+cpu``, says only how it was built.
        cpu: Whether it is a build for CPUs.
    """
    return KNOWN / f"{backend}-{version.partition('+')[0]}-{'cpu' if cpu else 'gpu'}.txt"


def read_known_imports(path: Path, packages: str) -> KnownImports:
    """Read a list; nothing is known where there is none. Blocks.

    Args:
        packages: The folder that the engine's package is installed in. A library to preload counts only if
        it is
            there.
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
    """Write a list, for ``read_known_imports``. Blocks.

    Args:
        packages: The folder that the engine's package is installed in.
        title: Of which engine, and how it was made.
    """
    path.parent.mkdir(exist_ok=True)
    preload = known.preload.replace(packages, PACKAGES)
    head = [f"# {title}", f"{MODULES}{known.count}", *([f"{PRELOAD}{preload}"] if preload else [])]
    path.write_text("\n".join([*head, *known.modules]) + "\n", encoding="ascii")


def _modules(lines: Iterable[str]) -> Iterator[str]:
    return (line for line in lines if line and "=" not in line and not line.startswith("#"))
