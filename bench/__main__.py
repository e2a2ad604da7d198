"""All benchmarks by one command: ``python -m bench list|run|compare|show|page``."""

from __future__ import annotations

import subprocess
import sys
from os.path import relpath
from pathlib import Path

import click

from bench import page as pages
from bench.harness.comparison import (
    Verdict,
    compare,
    compare_ratios,
    other_machine,
    other_software,
)
from bench.harness.experiment import INTERRUPTED
from bench.harness.plots import REMEDY, possible
from bench.harness.report import comparison_table, disagreement
from bench.harness.results import BadResults, Results, read
from bench.harness.spread import NOISE
from bench.harness.tables import markdown, show, table
from bench.registry import BENCHMARKS, RESULTS, ROOT, Benchmark

FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def main() -> None:
    """Measure sllm_actors here, beside others, and compare what was found."""


@main.command("list")
def list_all() -> None:
    """Show every benchmark: its question, its minutes on two cores, and what is missing to run it here."""
    rows = [
        (each.name, each.missing or "ready", each.question, f"{each.minutes:g}")
        for each in BENCHMARKS.values()
    ]
    show(table("python -m bench run NAME", ("name", "here", "question", "minutes"), rows, texts=3))


@main.command("run", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("name")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(name: str, arguments: tuple[str, ...]) -> None:
    """Run one benchmark, or all: `run NAME --help` shows its options.

    `run all` runs every benchmark that this machine can, one after the other, and writes each to
    bench/results/NAME.json; `run all --short` runs only those that two cores can in 40 minutes.
    """
    if name == "all":
        run_all.main(list(arguments), prog_name="python -m bench run all")
    if name in ("--help", "-h"):
        click.echo(run.get_help(click.get_current_context()))
        return
    row = row_of(name)
    asks_only = "--help" in arguments
    if row.missing and not asks_only:
        raise click.ClickException(f"{name} cannot run: {row.missing}")
    row.command().main(
        [*row.arguments, *arguments], prog_name=f"python -m bench run {name}", obj=(name, arguments)
    )


@click.command()
@click.option(
    "--short", is_flag=True, help="Only what two cores can run in 40 minutes, as `make bench` does."
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=RESULTS,
    help="Where the result files go.  [default: bench/results]",
)
def run_all(short: bool, folder: Path) -> None:
    """Run every benchmark that this machine can, each in a process of its own, and write each result.

    One that fails keeps no other from running; ^C keeps the results so far and ends. The status is 1 when one
    has failed.
    """
    ends: list[tuple[str, str]] = []
    for row in BENCHMARKS.values():
        if short and not row.short:
            continue
        if row.missing:
            ends.append((row.name, f"skipped: {row.missing}"))
            continue
        click.echo(f"==> {row.name}: {row.question} (about {row.minutes:g} min)", err=True)
        file = relpath(folder / f"{row.name}.json", ROOT)  # its command is published with the result
        brief = row.brief if short else ()
        command = [sys.executable, "-m", "bench", "run", row.name, *brief, "--json", file]
        status = _wait(subprocess.Popen(command, cwd=ROOT))
        ends.append((row.name, "done" if status == 0 else f"ended with status {status}"))
        if status == INTERRUPTED:
            break
    show(table("", ("benchmark", "end"), ends, texts=2))
    if any(end.startswith("ended") for _, end in ends):
        sys.exit(1)


@main.command("compare")
@click.argument("old", type=FILE)
@click.argument("new", type=FILE)
@click.option(
    "--noise",
    type=click.FloatRange(0, 10),
    default=NOISE,
    show_default=True,
    help="Differences by a smaller share are called none.",
)
@click.option("--other-machine", "anyway", is_flag=True, help="Compare files of different machines, too.")
@click.option("--fail-on-worse", is_flag=True, help="Exit with status 1 when a figure got worse.")
def compare_files(old: Path, new: Path, noise: float, anyway: bool, fail_on_worse: bool) -> None:
    """Show every figure that two result files have in common, and whether the difference means something.

    A difference means something where the medians are further apart than the noise and the rounds of the two
    files do not lie among each other. Files of different machines are refused without --other-machine.
    """
    before, after = read_or_fail(old), read_or_fail(new)
    differing = other_machine(before, after)
    if differing and not anyway:
        raise click.ClickException(
            f"the files are of different machines ({differing}): figures of two machines say nothing about a "
            "change; give --other-machine to see them side by side"
        )
    try:
        changes = compare(before, after, noise=noise)
    except BadResults as error:
        raise click.ClickException(str(error)) from error
    show(comparison_table(changes))
    for sentence in disagreement(compare_ratios(before, after, noise=NOISE), after.basis):
        click.echo(sentence)
    for warning in filter(None, (differing, other_software(before, after))):
        click.echo(f"warning: not the same machine: {warning}", err=True)
    if fail_on_worse and any(change.verdict is Verdict.WORSE for change in changes):
        sys.exit(1)


@main.command("show")
@click.argument("file", type=FILE)
@click.option("--markdown", "as_markdown", is_flag=True, help="As tables for a page of documentation.")
@click.option("--plot", type=FILE, help="Draw the main figures there, too.")
def show_file(file: Path, as_markdown: bool, plot: Path | None) -> None:
    """Print the tables of a result file again."""
    results = read_or_fail(file)
    if results.benchmark not in BENCHMARKS:
        raise click.ClickException(
            f"{file} is of the benchmark {results.benchmark!r}, which is not among {', '.join(BENCHMARKS)}"
        )
    row = BENCHMARKS[results.benchmark]
    if plot is not None:
        draw = row.draw()
        if draw is None:
            raise click.ClickException(f"results of {results.benchmark} have no plot")
        if not possible():
            raise click.ClickException(REMEDY)
        draw(results, plot)
    shown = row.tables()(results)
    if as_markdown:
        click.echo("\n\n".join(map(markdown, shown)))
    else:
        show(*shown)


@main.command("page")
def page() -> None:
    """Make docs/performance.md, its plots, and the figures that other pages quote, from bench/results."""
    if not possible():
        raise click.ClickException(REMEDY)
    try:
        pages.write_all()
    except (BadResults, pages.NoSuchFigure) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"written: {pages.PAGE.relative_to(ROOT)}", err=True)


def row_of(name: str) -> Benchmark:
    """Return the row of a name, or say which names there are."""
    try:
        return BENCHMARKS[name]
    except KeyError:
        known = ", ".join(["all", *BENCHMARKS])
        raise click.ClickException(f"there is no benchmark {name!r}: there are {known}") from None


def read_or_fail(file: Path) -> Results:
    """Read a result file, or end with the sentence that says why not."""
    try:
        return read(file)
    except BadResults as error:
        raise click.ClickException(str(error)) from error


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for a benchmark, also after ^C, which it got itself: it still writes what it has."""
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


if __name__ == "__main__":
    main(prog_name="python -m bench")
