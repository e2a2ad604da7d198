"""Starts everybody, takes turns, and puts the result file together."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.harness.child import ChildFailed
from bench.harness.results import document
from bench.harness.rounds import Collected, collect
from bench.harness.spread import Spread
from bench.peers.gateways import open_peer, peers

from .load import put_under_load
from .measures import DIRECT, MAIN, OURS, TUNNEL, Row, declare, judge, main_figures
from .ours import MODEL, UPSTREAM, open_ours
from .phases import Phase
from .plan import Plan
from .system import System, SystemFailed, program, wait_for
from .target import Target
from .two_processes import measure_processes
from .usage import QUIET_WITHIN, quiet

Say = Callable[[str], None]


def measure(plan: Plan, folder: Path, say: Say) -> tuple[Collected, dict[str, System]]:
    """Measure everything that the plan names.

    Returns:
        What was found, and the systems that could be started. Of the others ``errors`` has a sentence.
    """
    collected = Collected()
    with _opened(plan, folder, collected, say) as systems:
        for names, phases, rounds in plan.turns(list(systems)):

            def once(name: str, phases: Sequence[Phase] = phases) -> Row:
                target = systems[name].target
                figures = put_under_load(name, target, phases).figures
                if not quiet(target):
                    say(f"{name} is still busy {QUIET_WITHIN:g} s later: what comes next suffers from it")
                return figures

            def tell(each: int, name: str, of: int = rounds) -> None:
                say(f"round {each + 1} of {of}: {name}")

            collect(
                names,
                rounds,
                once,
                expected=ChildFailed,
                into=collected,
                progress=tell,
                rotate=True,
                rounds_of=plan.rounds_of,
            )
    if "processes" in plan.parts and OURS in plan.systems:
        try:
            collected.add(OURS, measure_processes(folder / "processes", plan, say))
        except (SystemFailed, ChildFailed) as failure:
            collected.fail(OURS, str(failure))
    return collected, systems


@contextmanager
def _opened(plan: Plan, folder: Path, collected: Collected, say: Say) -> Iterator[dict[str, System]]:
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
                collected.fail(name, str(failure))
                say(f"{name} is left out: {failure}")
            else:
                say(f"{name} serves")
        yield systems


@contextmanager
def _open_upstream(folder: Path) -> Iterator[System]:
    log = folder / "output.log"
    with program([sys.executable, str(UPSTREAM), "--port", "0"], log) as process:
        found = wait_for(
            lambda: re.search(r"port (\d+)", log.read_text()), process, log, within=30, what="it listens"
        )
        yield System(DIRECT, Target(int(found[1]), "any", MODEL, {"gateway": [process.pid]}))


def assemble(
    plan: Plan,
    collected: Collected,
    systems: Mapping[str, System],
    *,
    machine: dict[str, Any],
    conditions: dict[str, Any],
) -> dict[str, Any]:
    """Return the content of the result file: ``rows`` has a row for each system."""
    rows = {
        name: _row(name, collected)
        for name in plan.systems
        if name in systems or name in collected.values or name in collected.errors
    }
    content = document(
        "gateway",
        machine={
            **machine,
            "systems": {name: each.version for name, each in systems.items() if each.version},
        },
        measures=declare(_names(rows)),
        conditions=conditions,
        figures={"systems": rows},
    )
    content["rows"] = [
        {
            "name": name,
            **{each: row.get(each) for each in MAIN if each in row or not each.startswith("worker")},
        }
        for name, row in rows.items()
    ]
    content["spread"] = {
        name: {measure: _spread(values) for measure, values in figures.items()}
        for name, figures in collected.values.items()
    }
    content["targets"] = [
        {
            "target": each.target,
            "found": None if each.found is None else _rounded(each.found),
            "met": each.met,
        }
        for each in judge(rows)
    ]
    content["errors"] = collected.errors
    return content


def _row(name: str, collected: Collected) -> dict[str, float]:
    """Return the medians of a system; errors of all rounds and phases are added up."""
    values = collected.values.get(name, {})
    row = {
        each: float(sum(found)) if each.endswith("_errors") else _rounded(Spread.of(found).median)
        for each, found in values.items()
    }
    errors = sum(value for each, value in row.items() if each.endswith("_errors"))
    return {**main_figures(row), **({"errors": errors} if values else {}), **row}


def _names(rows: Mapping[str, Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows.values() for name in row))


def _spread(values: Sequence[float]) -> dict[str, float]:
    spread = Spread.of(values)
    return {"low": _rounded(spread.low), "high": _rounded(spread.high), "count": spread.count}


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
