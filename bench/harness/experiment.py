"""One run of a benchmark: what is noted while it measures, and what becomes of it when it ends."""

from __future__ import annotations

import functools
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
from rich.table import Table

from .comparison import Judge, targets_of
from .machine import busy, described, load, machine_facts
from .measures import Measure
from .report import standard_tables
from .results import Results, Subject, write
from .rounds import Collected, Figures, collect
from .spread import Spread, rounded
from .tables import show

ROOT: Final = Path(__file__).resolve().parents[2]

BUSY: Final = 0.25
"""The share of the processor that others use, above which figures say little."""

INTERRUPTED: Final = 130
"""The exit status after ^C, as a shell has it."""


class Experiment:
    """Collects the figures of one run, and the facts about it.

    Attributes:
        collected: What was measured so far.
        conditions: Settings that a reader needs to know.
        machine: What machine this is; a benchmark adds what else matters.
        more: What is not a figure.
        interrupted: Whether ^C cut it off.
        failed: Whether it could not be measured to its end.
    """

    def __init__(self, benchmark: str, packages: Iterable[str], arguments: Sequence[str], file: Path | None):
        self.benchmark = benchmark
        self.file = file
        self.collected = Collected()
        self.machine = machine_facts(packages)
        self.conditions: dict[str, Any] = {
            "command": shlex.join(["python", "-m", "bench", "run", benchmark, *arguments])
        }
        self.more: dict[str, Any] = {}
        self.interrupted = False
        self.failed = False
        self._load, self._began = load(), time.monotonic()

    def say(self, line: str) -> None:
        """Tell a person how far it is."""
        click.echo(f"  {line}", err=True)

    @contextmanager
    def measuring(self, *expected: type[Exception]) -> Iterator[None]:
        """Measure within this context: ^C ends it, and what was found so far is kept; SIGTERM ends all.

        Args:
            expected: What may be raised when nothing more can be measured: it is told, and what was found so
                far is kept. The exit status is then 1.
        """
        if (share := busy()) > BUSY:
            told = f"the machine does other work ({share:.0%} of its processor)"
            click.echo(f"warning: {told}: trust no figure", err=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and end what was started
        try:
            yield
        except expected as failure:
            self.failed = True
            self.collected.fail(self.benchmark, str(failure))
        except KeyboardInterrupt:
            self.interrupted = True
            click.echo("interrupted: these are the results so far", err=True)

    def collect(
        self,
        subjects: Iterable[str],
        rounds: int,
        measure: Callable[[str], Figures],
        *,
        expected: type[Exception],
        what: str = "",
        rotate: bool = True,
        rounds_of: Callable[[str], int] | None = None,
    ) -> None:
        """Measure every subject in every round, interleaved: see ``rounds.collect``.

        Args:
            what: Of what the rounds are, for a person.
        """

        def tell(each: int, subject: str) -> None:
            self.say(f"{f'{what}: ' if what else ''}round {each + 1} of {rounds}: {subject}")

        collect(
            subjects,
            rounds,
            measure,
            expected=expected,
            into=self.collected,
            progress=tell,
            rotate=rotate,
            rounds_of=rounds_of,
        )

    def results(
        self,
        measures: Mapping[str, Measure],
        *,
        basis: str = "",
        ours: Iterable[str] = (),
        versions: Mapping[str, str] | None = None,
        judge: Judge | None = None,
    ) -> Results:
        """Return what was found.

        Args:
            measures: What may be among the figures; others are left out.
            basis: The subject that others are compared with.
            ours: The subjects that are forms of sllm_actors.
            versions: Of the subjects that are somebody else's.
            judge: Says what is wanted.
        """
        versions = versions or {}
        ours, values, used = set(ours), self.collected.values, self.collected.used
        subjects = {
            name: Subject(
                figures={
                    each: Spread.of([rounded(value) for value in figures[each]])
                    for each in measures
                    if figures.get(each)
                },
                ours=name in ours,
                version=versions.get(name, ""),
                cpu_s=rounded(used.get(name, (0.0, 0))[0]),
                peak_mib=rounded(used.get(name, (0.0, 0))[1] / 2**20),
            )
            for name, figures in values.items()
        }
        shown = {name for subject in subjects.values() for name in subject.figures}
        conditions = {
            **self.conditions,
            "commit": commit(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "took_s": round(time.monotonic() - self._began),
            "load_before": self._load,
            "load_after": load(),
            **({"interrupted": True} if self.interrupted else {}),
        }
        return Results(
            benchmark=self.benchmark,
            machine=self.machine,
            conditions=conditions,
            measures={name: measure for name, measure in measures.items() if name in shown},
            subjects=subjects,
            basis=basis,
            targets=[] if judge is None else targets_of(judge, subjects),
            errors=self.collected.errors,
            more=self.more,
        )

    def finish(
        self,
        results: Results,
        tables: Callable[[Results], Sequence[Table]] = standard_tables,
        *,
        needed: Iterable[str] = (),
        check: bool = False,
    ) -> None:
        """Show the results, write them where that was asked for, and end the program if they are not whole.

        Whom it compared, on what machine, and the command that repeats it are told, too. The status is 130
        after ^C; 1 when one of ``needed`` could not be measured or, with ``check``, a target was not met.
        """
        show(*tables(results))
        click.echo(f"compared: {', '.join(named(results)) or 'nothing'}", err=True)
        click.echo(f"on: {described(results.machine)}", err=True)
        click.echo(f"again: {results.conditions['command']}", err=True)
        for name, sentences in results.errors.items():
            for sentence in sentences:
                click.echo(f"{name}: {sentence}", err=True)
        if self.file is not None:
            write(self.file, results)
            click.echo(f"written to {self.file}", err=True)
        if self.interrupted:
            sys.exit(INTERRUPTED)
        missed = [f"{each.target} ({each.word})" for each in results.targets if not each.met] if check else []
        if missed:
            click.echo(f"error: not as wanted: {', '.join(missed)}", err=True)
        if self.failed or missed or any(name in results.errors for name in needed):
            sys.exit(1)


def benchmark(name: str, packages: Iterable[str] = ()) -> Callable[[Callable[..., None]], click.Command]:
    """Make a command of a benchmark's function: it gets an ``Experiment`` first, and an option ``--json``.

    Args:
        name: In the registry. Who runs the command gives its row's name and the arguments as ``obj``.
        packages: Distributions whose versions matter.
    """

    def decorate(main: Callable[..., None]) -> click.Command:
        @functools.wraps(main)
        def run(file: Path | None, **options: Any) -> None:
            called, arguments = click.get_current_context().obj or (name, ())
            main(Experiment(called, packages, arguments, file), **options)

        option = click.option(
            "--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the results there."
        )
        return click.command(name)(option(run))

    return decorate


def named(results: Results) -> list[str]:
    """Return whom a run measured, with the versions of those that are somebody else's."""
    return [f"{name} {each.version}".rstrip() for name, each in results.subjects.items()]


def commit() -> str:
    """Return what was measured, or nothing where it is no git checkout."""
    found = _git("rev-parse", "--short", "HEAD")
    changed = found and _git("status", "--porcelain", "src")
    return f"{found}, with changes" if changed else found


def _git(*arguments: str) -> str:
    try:
        said = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return said.stdout.strip()
