"""Whole serving systems on the same work, one after the other: what ``seed`` and ``xinference`` share.

Deploy, first answer, streamed answers, answers at once, delete, and a worker that is killed.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import click
import httpx2
import psutil
from attrs import frozen
from rich.table import Table

from bench.cold_suite.cluster import ClusterFailed, stream_tokens, wait_for
from bench.gateway_suite.system import SystemFailed
from bench.harness.experiment import Experiment
from bench.harness.measures import Measure
from bench.harness.plots import draw_bars
from bench.harness.process_tree import watching
from bench.harness.report import errors_table, figures_table, usage_table
from bench.harness.results import Results
from bench.peers.serving import MODEL, CannotDo, Serving, lives

from .asking import MEASURES as ASKED
from .asking import Body, closed_loop, completion
from .outage import through_a_kill

OURS: Final = "sllm"
WITHIN: Final = 180.0
GONE_WITHIN: Final = 30.0

MEASURES: Final = {
    measure.name: measure
    for measure in (
        Measure("deploy_s", "from the request to deploy to the first token", "s", higher_is_better=False),
        Measure(
            "stream_s", "from a request to its first token, when it is ready", "s", higher_is_better=False
        ),
        *(ASKED[name] for name in ("rps", "wait_p50_s", "wait_p99_s", "errors")),
        Measure("back_s", "worker killed: until an answer comes again", "s", higher_is_better=False),
        Measure("lost", "worker killed: requests that failed until then", "", higher_is_better=False),
        Measure(
            "delete_s", "from the request to delete until nothing of it runs", "s", higher_is_better=False
        ),
    )
}

Failures = (ClusterFailed, SystemFailed, CannotDo, httpx2.HTTPError)
Open = Callable[[Path], AbstractContextManager[Serving]]


class NotMeasured(Exception):
    """A system could not be measured at all; the text says why."""


@frozen
class Work:
    """What every system is asked for.

    Attributes:
        rounds: How often each system is taken through all steps.
        seconds: Of asking, by all clients.
        clients: That ask at the same time.
        tokens: Of an answer.
    """

    rounds: int
    seconds: float
    clients: int
    tokens: int


def options(systems: Mapping[str, Open]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command the options of ``Work``, and which systems take part."""
    count = click.IntRange(1, 1000)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(
            (
                click.option("--rounds", type=click.IntRange(1, 100), default=2, show_default=True),
                click.option(
                    "--seconds",
                    type=click.FloatRange(min=0.5),
                    default=10.0,
                    show_default=True,
                    help="Of asking.",
                ),
                click.option("--clients", type=count, default=4, show_default=True),
                click.option(
                    "--tokens",
                    type=click.IntRange(1, 4096),
                    default=16,
                    show_default=True,
                    help="Of an answer.",
                ),
                click.option(
                    "--system",
                    "chosen",
                    type=click.Choice(list(systems)),
                    multiple=True,
                    help="Only these (all).",
                ),
            )
        ):
            command = option(command)
        return command

    return decorate


def compare(experiment: Experiment, systems: Mapping[str, Open], chosen: Sequence[str], work: Work) -> None:
    """Give each system the demo model on llama.cpp, ask, delete it, and kill the worker, in turns.

    Args:
        experiment: Gets the figures, and a sentence for each step that a system cannot do.
        systems: How each is started in a folder.
        chosen: Those that take part; all where it is empty.
        work: What they are asked for.
    """
    experiment.conditions |= {
        "rounds": work.rounds,
        "seconds": work.seconds,
        "clients": work.clients,
        "tokens": work.tokens,
    }
    versions: dict[str, str] = {}
    numbers = iter(range(10_000))
    with tempfile.TemporaryDirectory(prefix="sllm-bench-") as folder, experiment.measuring():

        def once(name: str) -> dict[str, float]:
            try:
                with systems[name](Path(folder) / f"{next(numbers)}") as system:
                    versions[name] = system.version
                    return measured(name, system, experiment, work)
            except Failures as failure:
                raise NotMeasured(str(failure)) from failure

        experiment.collect(chosen or systems, work.rounds, once, expected=NotMeasured)
    others = {name: each for name, each in versions.items() if name != OURS}
    results = experiment.results(MEASURES, basis=OURS, ours=[OURS], versions=others)
    experiment.finish(results, tables)


def measured(name: str, system: Serving, experiment: Experiment, work: Work) -> dict[str, float]:
    """Take a system through all steps; one that it cannot do is told, and has no figure."""
    figures: dict[str, float] = {}

    def step(what: str, do: Callable[[], dict[str, float]]) -> None:
        try:
            figures.update(do())
        except Failures as failure:
            experiment.collected.fail(name, f"{what}: {failure}")

    step("deploy", lambda: {"deploy_s": deployed(system)})
    if "deploy_s" in figures:
        step("streamed answer", lambda: {"stream_s": first_token(system)})
        with watching(*system.pids) as meter:
            step("answers at once", lambda: asked(system, work))
        experiment.collected.use(name, meter.seconds, meter.peak_bytes)
        step("delete", lambda: {"delete_s": deleted(system)})
    if "delete_s" in figures:
        step("worker killed", lambda: killed(system, work))
    return {each: value for each, value in figures.items() if each in MEASURES}


def deployed(system: Serving) -> float:
    """Deploy the model, and return the seconds to the first token of an answer."""
    began = time.monotonic()
    system.deploy()
    wait_for(lambda: answers(system), within=WITHIN, what="a first answer came")
    return time.monotonic() - began


def first_token(system: Serving) -> float:
    """Return the seconds from a streamed request to its first token."""
    with httpx2.Client(base_url=system.url() or "", timeout=WITHIN, trust_env=False) as http:
        began = time.monotonic()
        tokens = stream_tokens(http, MODEL, 4)
        next(tokens)
        took = time.monotonic() - began
        list(tokens)
    return took


def asked(system: Serving, work: Work) -> dict[str, float]:
    """Ask in a closed loop."""

    def body(chance: random.Random) -> Body:
        return completion(MODEL, f"Once upon a time in {chance.randrange(1000)}", work.tokens)

    return asyncio.run(closed_loop(system.url() or "", work.clients, work.seconds, body)).figures()


def killed(system: Serving, work: Work) -> dict[str, float]:
    """Deploy the model again, and kill the worker while the clients ask."""
    deployed(system)
    return through_a_kill(system, work.clients, completion(MODEL, "Once upon a time", work.tokens))


def deleted(system: Serving) -> float:
    """Delete the model, and return how long that took."""
    before = system.engines()
    began = time.monotonic()
    system.delete()
    wait_until_gone(before, "every engine of the deleted model is gone")
    return time.monotonic() - began


def wait_until_gone(processes: Sequence[psutil.Process], what: str) -> None:
    """Wait until none of them lives.

    Raises:
        ClusterFailed: One still does.
    """
    wait_for(lambda: not any(lives(each) for each in processes), within=GONE_WITHIN, what=what)


def answers(system: Serving) -> bool:
    """Return whether the model answers a small request now."""
    url = system.url()
    if url is None:
        return False
    try:
        with httpx2.Client(base_url=url, timeout=WITHIN, trust_env=False) as http:
            next(stream_tokens(http, MODEL, 1), None)
    except (ClusterFailed, httpx2.HTTPError):
        return False
    return True


def tables(results: Results) -> list[Table]:
    """Return the figures, what they cost, and what a system cannot do."""
    shown = [figures_table(results, text=True), usage_table(results), errors_table(results)]
    return [each for each in shown if each.row_count]


page_tables = tables


def draw(results: Results, path: Path) -> None:
    """Draw how the systems differ."""
    draw_bars(results, ("deploy_s", "stream_s", "rps", "wait_p99_s", "back_s", "delete_s"), path)
