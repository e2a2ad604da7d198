"""What actors cost here, and elsewhere: ``python -m bench run actors [--quick] [--no-peers]``."""

from __future__ import annotations

from pathlib import Path

import click

from bench.actor_suite.measures import MEASURES, judge
from bench.actor_suite.subjects import LOOPS, our_subjects, peer_subjects
from bench.actor_suite.suite import BASIS, PACKAGES, measure
from bench.harness.experiment import Experiment, benchmark
from bench.harness.plots import draw_bars
from bench.harness.results import Results


@benchmark("actors", PACKAGES)
@click.option("--quick", is_flag=True, help="One short round: shows that it runs, not how fast.")
@click.option(
    "--peers/--no-peers",
    default=True,
    help="Measure pykka, xoscar, Ray and Monarch too, where `make bench-peers` put them (the default).",
)
@click.option("--rounds", type=click.IntRange(1, 100), help="Interleaved rounds (3; with --quick 1).")
@click.option("--loop", "loops", type=click.Choice(LOOPS), multiple=True, help="Only these event loops.")
def main(
    experiment: Experiment, quick: bool, peers: bool, rounds: int | None, loops: tuple[str, ...]
) -> None:
    """Measure tells, asks, latency under bulk and the cost of idle actors, within and between processes."""
    subjects = [subject for subject in our_subjects() if not loops or subject.name in loops]
    for peer in peer_subjects() if peers else []:
        if peer.installed:
            subjects.append(peer)
        else:
            experiment.collected.fail(peer.name, "it is not installed: run `make bench-peers`")
    scale = "quick" if quick else "full"
    rounds = rounds or (1 if quick else 3)
    experiment.conditions |= {"scale": scale, "rounds": rounds}
    with experiment.measuring():
        measure(subjects, experiment, scale=scale, rounds=rounds)
    ours = [subject.name for subject in subjects if subject.ours]
    results = experiment.results(
        MEASURES,
        basis=BASIS if BASIS in ours else "",
        ours=ours,
        versions={subject.name: subject.version for subject in subjects},
        judge=judge,
    )
    experiment.finish(results, needed=ours)


SHOWN = ("local_tell_s", "local_ask_s", "remote_ask_s", "remote_ask_64_s", "bulk_p99_us", "actor_bytes")


def draw(results: Results, path: Path) -> None:
    """Draw the figures that tell the systems apart."""
    draw_bars(results, SHOWN, path)
