"""What forked engines still had to import, kept for the next fork server."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import cattrs
from attrs import evolve, frozen

PRELOAD = "LD_PRELOAD="
MOST_MODULES = 5000
LONGEST_NAME = 200
LONGEST_RECORD = 1024 * 1024

_NEVER = ("transformers_modules", "__main__", "__mp_main__")
"""Code that comes with a model is nobody else's; the program itself is run, not imported."""


@frozen
class Learned:
    """What a fork server is started with beyond its specification.

    Attributes:
        modules: What engines imported late, in that order.
        preload: The ``LD_PRELOAD`` that the processes of engines asked for.
        unfit: Why a server could not be forked with these modules; then none are learnt any more.
    """

    modules: tuple[str, ...] = ()
    preload: str = ""
    unfit: str = ""

    def merge(self, lines: Iterable[str]) -> Learned:
        """Return this with the lines of an engine's file of late imports. The bound keeps the oldest."""
        if self.unfit:
            return self
        modules = dict.fromkeys(self.modules)
        preload = self.preload
        for line in lines:
            if line.startswith(PRELOAD):
                preload = line.removeprefix(PRELOAD)
            elif _is_module(line) and len(modules) < MOST_MODULES:
                modules[line] = None
        return evolve(self, modules=tuple(modules), preload=preload)

    def found_unfit(self, reason: str) -> Learned:
        """Return this without the modules, which made a server unfit."""
        return Learned(preload=self.preload, unfit=reason)


def _is_module(name: str) -> bool:
    parts = name.split(".")
    return len(name) <= LONGEST_NAME and parts[0] not in _NEVER and all(part.isidentifier() for part in parts)


def read_learned(path: Path) -> Learned:
    """Read a record; nothing was learned where there is none, or none that can be read. Blocks."""
    try:
        with path.open("rb") as file:
            return cattrs.structure(json.loads(file.read(LONGEST_RECORD)), Learned)
    except (OSError, ValueError, KeyError, TypeError, cattrs.BaseValidationError):
        return Learned()


def write_learned(path: Path, learned: Learned) -> None:
    """Write a record. Blocks.

    Raises:
        OSError: It cannot be written: the next server has to learn again.
    """
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(cattrs.unstructure(learned)))
    fresh.replace(path)
