"""Starts everybody, and takes turns."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from psutil import NoSuchProcess

from bench.harness.child import ChildFailed
from bench.harness.experiment import Experiment
from bench.peers.gateways import open_peer, peers

from .load import put_under_load
from .measures import DIRECT, OURS, TUNNEL, Row
from .ours import MODEL, UPSTREAM, open_ours
from .phases import Phase
from .plan import Plan
from .system import System, SystemFailed, program, wait_for
from .target import Target
from .two_processes import measure_processes
from .usage import QUIET_WITHIN, processor_seconds, quiet, resident_bytes


def measure(plan: Plan, folder: Path, experiment: Experiment, versions: dict[str, str]) -> None:
    """Measure everything that the plan names.

    Args:
        plan: What to measure.
        folder: For the files of the systems.
        experiment: Gets the figures, and a sentence for each system that could not be measured.
        versions: Gets those of the systems that could be started.
    """
    collected = experiment.collected
    with _opened(plan, folder, experiment) as systems:
        versions.update({name: each.version for name, each in systems.items()})
        for names, phases, rounds in plan.turns(list(systems)):

            def once(name: str, phases: Sequence[Phase] = phases) -> Row:
                target = systems[name].target
                pids = [pid for group in target.groups.values() for pid in group]
                before = processor_seconds(pids)
                figures = put_under_load(name, target, phases).figures
                if not quiet(target):
                    experiment.say(
                        f"{name} is still busy {QUIET_WITHIN:g} s later: what comes next suffers from it"
                    )
                with suppress(OSError, NoSuchProcess):  # one that is gone: the next load will say so
                    collected.use(name, processor_seconds(pids) - before, resident_bytes(pids))
                return figures

            experiment.collect(names, rounds, once, expected=ChildFailed, rounds_of=plan.rounds_of)
    if "processes" in plan.parts and OURS in plan.systems:
        try:
            collected.add(OURS, measure_processes(folder / "processes", plan, experiment.say))
        except (SystemFailed, ChildFailed) as failure:
            collected.fail(OURS, str(failure))


@contextmanager
def _opened(plan: Plan, folder: Path, experiment: Experiment) -> Iterator[dict[str, System]]:
    """Start the systems; one that cannot be started is left out with a sentence."""
    systems: dict[str, System] = {}
    with ExitStack() as stack:
        if not (plan.once() or plan.each_round()):
            yield systems
            return
        direct = stack.enter_context(_open_upstream(folder / DIRECT))
        for name in plan.systems:
            try:
                if name == DIRECT:
                    systems[name] = direct
                elif name in (OURS, TUNNEL):
                    systems[name] = stack.enter_context(open_ours(name, folder / name, far=name == TUNNEL))
                else:
                    peer = open_peer(peers()[name], direct.target.port, folder / name)
                    systems[name] = stack.enter_context(peer)
            except SystemFailed as failure:
                experiment.collected.fail(name, str(failure))
                experiment.say(f"{name} is left out: {failure}")
            else:
                experiment.say(f"{name} serves")
        yield systems


@contextmanager
def _open_upstream(folder: Path) -> Iterator[System]:
    log = folder / "output.log"
    with program([sys.executable, str(UPSTREAM), "--port", "0"], log) as process:
        found = wait_for(
            lambda: re.search(r"port (\d+)", log.read_text()), process, log, within=30, what="it listens"
        )
        yield System(DIRECT, Target(int(found[1]), "any", MODEL, {"gateway": [process.pid]}))
