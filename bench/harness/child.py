"""Runs a subject: a program that prints one JSON line per figure, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from attrs import field, frozen

from .process_tree import TreeMeter, descendants, kill

LOOK = 0.1
"""Seconds between two looks at a running child."""

MOST_OUTPUT = 4 * 2**20
"""Bytes of its output that are read."""

LAST_WORDS = 2000
"""Bytes of its standard error that a failure quotes from."""


class ChildFailed(Exception):
    """A subject gave no figures; the text says why."""


@frozen
class Child:
    """A program to run.

    Attributes:
        name: For sentences about it.
        command: An argument list.
        folder: Its working directory.
        environment: What is added to the environment.
        timeout: Seconds after which it and its descendants are killed.
    """

    name: str
    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str] = field(factory=dict)
    timeout: float = 300.0


@frozen
class Run:
    """What came of it.

    Attributes:
        figures: By measure.
        cpu_seconds: Of the child with all its descendants.
        seconds: How long it took.
        peak_bytes: The most memory that they had resident together.
    """

    figures: dict[str, float]
    cpu_seconds: float
    seconds: float
    peak_bytes: int = 0


def run(child: Child) -> Run:
    """Run a subject to its end and return its figures. No process of it is left, however it ended.

    Raises:
        ChildFailed: It could not be started, took too long, ended with an error, or printed no figure.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        try:
            process = subprocess.Popen(
                child.command,
                cwd=child.folder,
                env={**os.environ, **child.environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        except OSError as error:
            raise ChildFailed(f"{child.name} could not be started: {error}") from error
        meter = TreeMeter(process.pid)
        family = descendants(process.pid)
        try:
            while process.poll() is None:
                if time.perf_counter() - began > child.timeout:
                    raise ChildFailed(f"{child.name} took longer than {child.timeout:g} s")
                family = list({*family, *descendants(process.pid)})
                meter.look()
                time.sleep(LOOK)
        finally:
            kill(family)
            process.wait()
        if process.returncode != 0:
            raise ChildFailed(f"{child.name} ended with status {process.returncode}: {_last_words(err)}")
        out.seek(0)
        figures = read_figures(out.read(MOST_OUTPUT).decode(errors="replace").splitlines())
        if not figures:
            raise ChildFailed(f"{child.name} printed no figure: {_last_words(err)}")
        return Run(figures, meter.seconds, time.perf_counter() - began, meter.peak_bytes)


def read_figures(lines: Sequence[str]) -> dict[str, float]:
    """Return the figures among the lines of a subject: ``{"measure": name, "value": number}``, one per line.

    Other lines are ignored: libraries print what they like. Of a measure that comes twice the last counts.
    """
    figures = {}
    for line in lines:
        if not line.startswith("{"):
            continue
        try:
            said = json.loads(line)
        except ValueError:
            continue
        name, value = said.get("measure"), said.get("value")
        if isinstance(name, str) and isinstance(value, int | float) and not isinstance(value, bool):
            figures[name] = float(value)
    return figures


def _last_words(err: IO[bytes]) -> str:
    err.seek(0, os.SEEK_END)
    err.seek(max(0, err.tell() - LAST_WORDS))
    lines = [line for line in err.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
