"""Result files: JSON with a version, so that an old one is refused rather than misread."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

from .measures import Measure
from .spread import Spread
from .targets import Judged

VERSION: Final = 2
"""Of the layout: raised when an old file cannot be read as a new one."""

NUMBERS = re.compile(r"\[\s+(-?[\d.e+-]+(?:,\s+-?[\d.e+-]+)*)\s+\]")
"""A list of numbers, which is written on one line."""


class BadResults(Exception):
    """A file is no result file of this version; the text says why."""


@frozen
class Subject:
    """What was measured of one of those that a benchmark compares.

    Attributes:
        figures: By the names of the measures.
        ours: Whether it is a form of sllm_actors.
        version: Of what was measured, where it is somebody else's.
        cpu_s: Seconds of processor time that all its processes used together in all rounds; 0 if unknown.
        peak_mib: The most memory that all its processes had resident together; 0 if unknown.
    """

    figures: Mapping[str, Spread]
    ours: bool = False
    version: str = ""
    cpu_s: float = 0.0
    peak_mib: float = 0.0

    def medians(self) -> dict[str, float]:
        """Return the median of each figure."""
        return {name: spread.median for name, spread in self.figures.items()}

    def to_json(self) -> dict[str, Any]:
        """Return what a result file says of it."""
        said = {"ours": self.ours, "version": self.version, "cpu_s": self.cpu_s, "peak_mib": self.peak_mib}
        return {
            **{name: value for name, value in said.items() if value},
            "figures": {name: spread.to_json() for name, spread in self.figures.items()},
        }

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Subject:
        """Read what a result file says of it."""
        figures = {name: Spread.from_json(figure) for name, figure in raw["figures"].items()}
        return cls(**{**raw, "figures": figures})


@frozen
class Results:
    """All that one run of a benchmark found.

    Attributes:
        benchmark: Its name in the registry.
        machine: See ``machine_facts``.
        conditions: How it was run: the command that repeats it, rounds, load averages, settings.
        measures: What the figures are figures of, by name, in the order of the tables.
        subjects: Whom it measured, by name.
        basis: The subject that the others are compared with; empty where nothing is.
        targets: What was wanted.
        errors: By subject, why something of it was not measured.
        more: What is not a figure of a measure, as the benchmark has it.
    """

    benchmark: str
    machine: Mapping[str, Any]
    conditions: Mapping[str, Any]
    measures: Mapping[str, Measure]
    subjects: Mapping[str, Subject]
    basis: str = ""
    targets: Sequence[Judged] = ()
    errors: Mapping[str, Sequence[str]] = field(factory=dict)
    more: Mapping[str, Any] = field(factory=dict)

    def medians(self) -> dict[str, dict[str, float]]:
        """Return the median of each figure of each subject."""
        return {name: subject.medians() for name, subject in self.subjects.items()}

    def to_json(self) -> dict[str, Any]:
        """Return the content of a result file."""
        return {
            "version": VERSION,
            "benchmark": self.benchmark,
            "machine": dict(self.machine),
            "conditions": dict(self.conditions),
            "basis": self.basis,
            "subjects": {name: subject.to_json() for name, subject in self.subjects.items()},
            "targets": [target.to_json() for target in self.targets],
            "errors": {name: list(sentences) for name, sentences in self.errors.items()},
            "more": dict(self.more),
            "measures": {name: measure.to_json() for name, measure in self.measures.items()},
        }

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Results:
        """Read the content of a result file."""
        return cls(
            benchmark=raw["benchmark"],
            machine=dict(raw["machine"]),
            conditions=dict(raw["conditions"]),
            measures={name: Measure.from_json(name, each) for name, each in raw["measures"].items()},
            subjects={name: Subject.from_json(each) for name, each in raw["subjects"].items()},
            basis=raw["basis"],
            targets=[Judged(**each) for each in raw["targets"]],
            errors=raw["errors"],
            more=raw["more"],
        )


def write(path: Path, results: Results) -> None:
    """Write a result file, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results.to_json(), indent=2, ensure_ascii=False)
    path.write_text(NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n")


def read(path: Path) -> Results:
    """Read a result file.

    Raises:
        BadResults: It is not there, or no result file of this version.
    """
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise BadResults(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BadResults(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict) or "benchmark" not in content:
        raise BadResults(f"{path} is not a result file: run a benchmark with --json")
    if content.get("version") != VERSION:
        raise BadResults(
            f"{path} has the layout of version {content.get('version')}, and this harness reads {VERSION}: "
            "run the benchmark again"
        )
    try:
        return Results.from_json(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadResults(f"{path} is a damaged result file ({error!r}): run the benchmark again") from error
