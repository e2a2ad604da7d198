"""Other bounds for the number of replicas of a deployment, at times that a cron expression tells. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import attrs
from attrs import frozen
from cronsim import CronSim, CronSimError

from .json_text import plain_key, shown
from .time_zones import time_zone

MAX_SCHEDULES = 16
"""The most schedules of one deployment."""

LONGEST = 366 * 86400.0
"""The longest that a schedule may hold at a time, in seconds: a year."""

_SOME_DAY: Final = datetime(2026, 1, 1)  # noqa: DTZ001 - only to see whether an expression can be read


@frozen(kw_only=True)
class Schedule:
    """Bounds that hold instead of the deployment's own, from each time that the expression tells.

    Attributes:
        cron: The expression, of five fields: minute, hour, day, month, weekday; as ``0 8 * * MON-FRI``.
        duration: For how many seconds.
        time_zone: The zone in which the expression is meant, as ``Europe/Berlin``.
        min_instances: Then the fewest replicas; None: as else.
        max_instances: Then the most; None: as else.
        target: Then the requests at a time that one replica should have; None: as else.
    """

    cron: str
    duration: float
    time_zone: str = "UTC"
    min_instances: int | None = None
    max_instances: int | None = None
    target: int | None = None

    def last_start(self, at: float) -> float:
        """Return when it last began, at ``at`` or before, in seconds since the epoch."""
        return self._start(at + 1.0, reverse=True)

    def next_start(self, at: float) -> float:
        """Return when it begins next, after ``at``, in seconds since the epoch."""
        return self._start(at, reverse=False)

    def _start(self, at: float, *, reverse: bool) -> float:
        zone = time_zone(self.time_zone)
        assert zone is not None  # else it would not have been read
        begun = datetime.fromtimestamp(int(at), zone)
        return next(CronSim(self.cron, begun, reverse=reverse)).timestamp()


_BOUNDS: Final = {"min_instances": 0, "max_instances": 1, "target": 1}
_MOST: Final = {"min_instances": 256, "max_instances": 256, "target": 1_000_000}


def read_schedule(given: object) -> Schedule:
    """Return the schedule that a table of a document describes.

    Raises:
        ValueError, TypeError: It describes none; one sentence without the name of its key.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"{shown(given)} is not an object of keys and values")
    values = {key: value for key, value in given.items() if value is not None}
    for wrong in _wrong(values):
        raise ValueError(wrong)
    return Schedule(**(values | {"duration": float(values["duration"])}))


def _wrong(values: Mapping[str, Any]) -> Iterator[str]:
    known = attrs.fields_dict(Schedule)
    for key in values:
        if key not in known:
            yield f"it has an unknown key {plain_key(key)}: known are {', '.join(known)}"
    for key in ("cron", "duration"):
        if key not in values:
            yield f"it has no {key}"
    if not any(key in values for key in _BOUNDS):
        yield "it sets neither min_instances nor max_instances nor target"
    cron, duration, zone = values["cron"], values["duration"], values.get("time_zone", "UTC")
    if not isinstance(cron, str) or (why := _why_no_cron(cron)):
        why = why if isinstance(cron, str) else "no text"
        yield (
            f"cron cannot be {shown(cron)} ({why}): it needs five fields, minute, hour, day, month and"
            " weekday, as in 0 8 * * MON-FRI"
        )
    if isinstance(duration, bool) or not isinstance(duration, int | float) or not 1 <= duration <= LONGEST:
        yield f"duration must be seconds from 1 to {LONGEST:.0f}, not {shown(duration)}"
    if not isinstance(zone, str) or time_zone(zone) is None:
        yield f"time_zone {shown(zone)} is not known: give one as Europe/Berlin, or UTC"
    for key, least in _BOUNDS.items():
        value = values.get(key, least)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MOST[key]:
            yield f"{key} must be a whole number from {least} to {_MOST[key]}, not {shown(value)}"


def _why_no_cron(cron: str) -> str:
    """Return what is wrong with an expression; "" if it can be read and its time comes."""
    if len(cron.split()) != 5:
        return f"{len(cron.split())} of 5 fields"
    try:
        CronSim(cron, _SOME_DAY)
    except CronSimError as error:
        return str(error).lower()
    return ""
