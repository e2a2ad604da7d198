"""What forked engines still had to import, kept for the next fork server."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from attrs import evolve, frozen

from sllm_actors.files import FileProblem, put_aside, read_record, write_record

PRELOAD = "LD_PRELOAD="
MOST_MODULES = 5000
LONGEST_NAME = 200
LONGEST_RECORD = 1024 * 1024
LONGEST_FILE = 1024 * 1024

SETTLED = 2
"""Looks in a row without a further import, after which an engine is taken to have imported everything."""

_NEVER = ("transformers_modules", "__main__", "__mp_main__")
"""Code that comes with a model is nobody else's; the program itself is run, not imported."""


@frozen
class Learned:
    """What a fork server is started with beyond its specification.

    Attributes:
        engine: Of which engine: its package, version and interpreter. Of another one nothing is known.
        modules: What engines imported late, in that order.
        preload: The ``LD_PRELOAD`` that the processes of engines asked for.
        unfit: Why a server could not be forked with these modules; then none are learnt any more.
        count: How many modules the last server had when it was ready, or 0.
        seconds: How long it took to import them, or 0.
    """

    engine: str = ""
    modules: tuple[str, ...] = ()
    preload: str = ""
    unfit: str = ""
    count: int = 0
    seconds: float = 0.0

    def knowing(self, modules: Iterable[str], preload: str, count: int) -> Learned:
        """Return this with what is known of the engine anyway: its modules come first.

        Nothing is taken over where a server was unfit with it.
        """
        if self.unfit:
            return self
        known = Learned(self.engine, preload=preload).merge(modules)
        both = known.merge(self.modules)
        return evolve(self, modules=both.modules, preload=self.preload or preload, count=self.count or count)

    def took(self, count: int, seconds: float) -> Learned:
        """Return this with what the import of a server that is ready was like."""
        return evolve(self, count=count, seconds=round(seconds, 2))

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
        return evolve(self, modules=(), unfit=reason)


@frozen
class Look:
    """What an engine had imported late when it was looked at.

    Attributes:
        lines: All of them so far.
        same: How many looks in a row brought nothing further.
    """

    lines: tuple[str, ...] = ()
    same: int = 0

    def then(self, lines: tuple[str, ...] | None) -> Look:
        """Return the next look; None stands for an engine that has ended, and its file with it."""
        if lines is None:
            return Look(self.lines, max(SETTLED, self.same + 1))
        return Look(lines, self.same + 1 if len(lines) == len(self.lines) else 0)

    @property
    def is_settled(self) -> bool:
        """Whether it has just come to be so."""
        return self.same == SETTLED and bool(self.lines)


def _is_module(name: str) -> bool:
    parts = name.split(".")
    return len(name) <= LONGEST_NAME and parts[0] not in _NEVER and all(part.isidentifier() for part in parts)


def read_imports(path: Path) -> tuple[str, ...] | None:
    """Read an engine's file of late imports; None where it is gone. Blocks."""
    try:
        with path.open("rb") as file:
            return tuple(file.read(LONGEST_FILE).decode("ascii", "replace").split("\n")[:-1])
    except OSError:
        return None


def read_learned(path: Path, engine: str) -> Learned:
    """Read a record; nothing was learned where there is none of this engine. Blocks.

    A damaged one is put aside with a warning.

    Raises:
        FileProblem: It is damaged, and cannot be put aside.
    """
    try:
        learned = read_record(path, Learned, LONGEST_RECORD)
    except FileProblem as problem:
        put_aside(problem, "what engines import late is learned again")
        learned = None
    return learned if learned is not None and learned.engine == engine else Learned(engine)


def write_learned(path: Path, learned: Learned) -> None:
    """Write a record. Blocks.

    Raises:
        OSError: It cannot be written: the next server has to learn again.
    """
    write_record(path, learned, durable=False)
