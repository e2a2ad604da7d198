"""What actors cost here, and elsewhere: ``python bench/actors.py [--json FILE] [--quick] [--no-peers]``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.actor_suite.report import tables
from bench.actor_suite.subjects import LOOPS, our_subjects, peer_subjects
from bench.actor_suite.suite import assemble, measure
from bench.harness.machine import load
from bench.harness.results import write
from bench.harness.tables import show


@click.command()
@click.option(
    "--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the results there."
)
@click.option("--quick", is_flag=True, help="One short round: shows that it runs, not how fast.")
@click.option(
    "--peers/--no-peers",
    default=True,
    help="Measure pykka, xoscar and Ray too, where `make bench-peers` put them (the default).",
)
@click.option("--rounds", type=click.IntRange(1, 100), help="Interleaved rounds (3; with --quick 1).")
@click.option("--loop", "loops", type=click.Choice(LOOPS), multiple=True, help="Only these event loops.")
def main(file: Path | None, quick: bool, peers: bool, rounds: int | None, loops: tuple[str, ...]) -> None:
    """Measure tells, asks, latency under bulk and the cost of idle actors, within and between processes."""
    subjects = [subject for subject in our_subjects() if not loops or subject.name in loops]
    for peer in peer_subjects() if peers else []:
        if peer.installed:
            subjects.append(peer)
        else:
            click.echo(f"{peer.name} is not installed and left out: run `make bench-peers`", err=True)
    scale = "quick" if quick else "full"
    rounds = rounds or (1 if quick else 3)
    before = load()
    collected, cpu = measure(
        subjects, scale=scale, rounds=rounds, progress=lambda line: click.echo(f"  {line}", err=True)
    )
    content = assemble(
        subjects,
        collected,
        command=" ".join(["python", "bench/actors.py", *sys.argv[1:]]),
        scale=scale,
        rounds=rounds,
        load_before=before,
        cpu=cpu,
    )
    show(*tables(content))
    for name, sentences in content["errors"].items():
        for sentence in sentences:
            click.echo(f"{name}: {sentence}", err=True)
    if file is not None:
        write(file, content)
        click.echo(f"written to {file}", err=True)
    if any(subject.ours and subject.name in content["errors"] for subject in subjects):
        sys.exit(1)


if __name__ == "__main__":
    main()
