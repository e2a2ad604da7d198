"""The modules that engines imported after they were forked, recorded for the next fork server."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from attrs import evolve, frozen

from sllm_actors.files import FileProblem, put_aside, read_record, write_record

PRELOAD = "LD_PRELOAD="
"""Begins the line of an engine's file that names libraries to preload; other lines are names of modules."""

MOST_MODULES = 5000
LONGEST_NAME = 200
LONGEST_RECORD = 1024 * 1024
LONGEST_FILE = 1024 * 1024

SETTLED = 2
"""How many looks in a row must find no further import before an engine is taken to have imported all."""

_NEVER = ("transformers_modules", "__main__", "__mp_main__")
"""Top-level modules that are never recorded: code that comes with one model, and the program itself."""


@frozen
class Learned:
    """What earlier engines and fork servers have taught: a fork server is started with it.

    Attributes:
        engine: Package, version and interpreter of the engine that it is about; useless for any other.
        modules: The modules that engines imported late, in that order.
        preload: The ``LD_PRELOAD`` that the processes of engines asked for, or "".
        unfit: Why a fork server that had imported ``modules`` could not be forked; then no module is recorded
            any more. "" as long as all is well.
        count: How many modules the last fork server had when it was ready, or 0.
        seconds: How many seconds it took to import them, or 0.
    """

    engine: str = ""
    modules: tuple[str, ...] = ()
    preload: str = ""
    unfit: str = ""
    count: int = 0
    seconds: float = 0.0

    def knowing(self, modules: Iterable[str], preload: str, count: int) -> Learned:
        """Return this record with what ``KnownImports`` says; the known modules come first.

        A record that is ``unfit`` stays as it is.
        """
        if self.unfit:
            return self
        known = Learned(self.engine, preload=preload).merge(modules)
        both = known.merge(self.modules)
        return evolve(self, modules=both.modules, preload=self.preload or preload, count=self.count or count)

    def took(self, count: int, seconds: float) -> Learned:
        """Return this record after a fork server became ready with ``count`` modules in ``seconds``."""
        return evolve(self, count=count, seconds=round(seconds, 2))

    def merge(self, lines: Iterable[str]) -> Learned:
        """Return this record with the lines of an engine's file of late imports added.

        Names beyond ``MOST_MODULES`` are dropped. A record that is ``unfit`` stays as it is.
        """
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
        """Return this record without its modules, after a fork server that had them could not be forked."""
        return evolve(self, modules=(), unfit=reason)


@frozen
class Look:
    """What a look at an engine's file of late imports found.

    Attributes:
        lines: All lines of the file so far.
        same: How many looks in a row found no further line.
    """

    lines: tuple[str, ...] = ()
    same: int = 0

    def then(self, lines: tuple[str, ...] | None) -> Look:
        """Return the next look; ``lines`` is None when the file is gone, because the engine has ended."""
        if lines is None:
            return Look(self.lines, max(SETTLED, self.same + 1))
        return Look(lines, self.same + 1 if len(lines) == len(self.lines) else 0)

    @property
    def is_settled(self) -> bool:
        """Whether just this look made it certain that no more imports follow; true once per engine."""
        return self.same == SETTLED and bool(self.lines)


def _is_module(name: str) -> bool:
    parts = name.split(".")
    return len(name) <= LONGEST_NAME and parts[0] not in _NEVER and all(part.isidentifier() for part in parts)


def read_imports(path: Path) -> tuple[str, ...] | None:
    """Return the whole lines of an engine's file of late imports; None if it is gone. Blocks on the disk."""
    try:
        with path.open("rb") as file:
            return tuple(file.read(LONGEST_FILE).decode("ascii", "replace").split("\n")[:-1])
    except OSError:
        return None


def read_learned(path: Path, engine: str) -> Learned:
    """Read a record; return an empty one if there is none, or if it is of another engine. Blocks on the disk.

    A damaged record is put aside with a warning.

    Raises:
        FileProblem: The record is damaged, and cannot be put aside.
    """
    try:
        learned = read_record(path, Learned, LONGEST_RECORD)
    except FileProblem as problem:
        put_aside(problem, "what engines import late is learned again")
        learned = None
    return learned if learned is not None and learned.engine == engine else Learned(engine)


def write_learned(path: Path, learned: Learned) -> None:
    """Write a record. Blocks on the disk.

    Raises:
        OSError: It cannot be written: after a restart of the worker, engines have to teach it again.
    """
    write_record(path, learned, durable=False)
