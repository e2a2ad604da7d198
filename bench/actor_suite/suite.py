"""Runs the subjects in interleaved rounds and puts the result file together."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.harness.child import ChildFailed, run
from bench.harness.machine import load, machine_facts
from bench.harness.results import document
from bench.harness.rounds import Collected, collect
from bench.harness.spread import Spread

from .measures import MEASURES, judge
from .subjects import GROUPS, Subject

OUR_PACKAGES = ("sllm-actors", "anyio", "attrs", "cattrs", "msgpack", "trio", "uvloop")


def measure(
    subjects: Sequence[Subject], *, scale: str, rounds: int, progress: Callable[[str], None]
) -> tuple[Collected, dict[str, float]]:
    """Measure all groups; return the figures, and the CPU seconds that each subject used.

    Group by group, and within a group round by round, one subject after the other.
    """
    collected = Collected()
    cpu: dict[str, float] = {}
    for group in GROUPS:
        able = {subject.name: subject for subject in subjects if group in subject.groups}

        def once(name: str, group: str = group, able: dict[str, Subject] = able) -> dict[str, float]:
            done = run(able[name].child(group, scale))
            cpu[name] = cpu.get(name, 0.0) + done.cpu_seconds
            return done.figures

        def tell(each: int, name: str, group: str = group) -> None:
            progress(f"{group}: round {each + 1} of {rounds}: {name}")

        collect(able, rounds, once, expected=ChildFailed, into=collected, progress=tell)
    return collected, cpu


def assemble(
    subjects: Sequence[Subject],
    collected: Collected,
    *,
    command: str,
    scale: str,
    rounds: int,
    load_before: list[float],
    cpu: dict[str, float],
) -> dict[str, Any]:
    """Return the content of the result file."""
    spreads = {
        name: {measure: Spread.of(values) for measure, values in figures.items() if measure in MEASURES}
        for name, figures in collected.values.items()
    }
    figures: dict[str, dict[str, dict[str, float]]] = {"ours": {}, "peers": {}}
    for subject in subjects:
        figures["ours" if subject.ours else "peers"][subject.name] = {
            measure: _rounded(spread.median) for measure, spread in spreads.get(subject.name, {}).items()
        }
    content = document(
        "actors",
        machine={**machine_facts(OUR_PACKAGES), "peers": _peer_versions(subjects)},
        measures=list(MEASURES.values()),
        conditions={
            "command": command,
            "commit": _commit(subjects[0].child("local", scale).folder),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "scale": scale,
            "rounds": rounds,
            "load_before": load_before,
            "load_after": load(),
            "cpu_seconds": {name: round(seconds, 1) for name, seconds in cpu.items()},
        },
        figures=figures,
    )
    content["spread"] = {
        name: {
            measure: {"low": _rounded(spread.low), "high": _rounded(spread.high), "count": spread.count}
            for measure, spread in mine.items()
        }
        for name, mine in spreads.items()
    }
    content["targets"] = [
        {"target": each.target.text, "found": each.found and _rounded(each.found), "met": each.met}
        for each in judge(figures["ours"].get("uvloop", {}), figures["peers"])
    ]
    content["errors"] = collected.errors
    return content


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _commit(folder: Path) -> str:
    """Return what was measured, or nothing where it is no git checkout."""
    commit = _git(folder, "rev-parse", "--short", "HEAD")
    changed = commit and _git(
        folder, "status", "--porcelain", "src/sllm_actors/actors", "src/sllm_actors/transport"
    )
    return f"{commit}, with changes" if changed else commit


def _git(folder: Path, *arguments: str) -> str:
    try:
        said = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return said.stdout.strip()


def _peer_versions(subjects: Sequence[Subject]) -> dict[str, str]:
    """Return the peers' versions, from the names of their installed metadata."""
    found = {}
    for subject in subjects:
        if not subject.ours:
            for info in subject.python.parents[1].glob(
                f"lib/python*/site-packages/{subject.name}-*.dist-info"
            ):
                found[subject.name] = re.sub(r"^[^-]*-|\.dist-info$", "", info.name)
    return found
