"""Schedules in a deployment's document: what is right is kept, what is wrong is told in one sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sllm_actors.serving.deployment.changes import read_patch
from sllm_actors.serving.deployment.document import read_document, write_document
from sllm_actors.serving.deployment.problem import DeploymentProblem
from sllm_actors.serving.deployment.schedule import LONGEST, Schedule
from sllm_actors.serving.deployment.spec import DeploymentSpec

DAILY = {"cron": "0 8 * * *", "duration": 3600, "max_instances": 3}


def read(*schedules: object, **scaling: object) -> DeploymentSpec:
    document = {"model": "m", "auto_scaling_config": {**scaling, "schedules": list(schedules)}}
    return read_document(json.dumps(document))[0]


def problem(*schedules: object, **scaling: object) -> DeploymentProblem:
    with pytest.raises(DeploymentProblem) as raised:
        read(*schedules, **scaling)
    return raised.value


def test_a_schedule_is_written_as_it_was_read() -> None:
    spec = read(DAILY, DAILY | {"time_zone": "Europe/Berlin", "min_instances": None})
    assert spec.scaling.schedules == (
        Schedule(cron="0 8 * * *", duration=3600.0, max_instances=3),
        Schedule(cron="0 8 * * *", duration=3600.0, max_instances=3, time_zone="Europe/Berlin"),
    )
    assert read_document(json.dumps(write_document(spec))) == (spec, [])
    patched, _ = read_patch(spec, '{"auto_scaling_config": {"target": 3}}')
    assert patched.scaling.schedules == spec.scaling.schedules
    assert read_patch(spec, '{"auto_scaling_config": {"schedules": null}}')[0].scaling.schedules == ()


KEY = "auto_scaling_config.schedules[0]"
KNOWN = "cron, duration, time_zone, min_instances, max_instances, target"
NEEDS = ": it needs five fields, minute, hour, day, month and weekday, as in 0 8 * * MON-FRI"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"cron": "x"}, f'cron cannot be "x" (1 of 5 fields){NEEDS}'),
        ({"cron": "61 * * * *"}, f'cron cannot be "61 * * * *" (bad minute){NEEDS}'),
        ({"cron": "0 0 31 2 *"}, f'cron cannot be "0 0 31 2 *" (bad day-of-month){NEEDS}'),
        ({"cron": 5}, f"cron cannot be 5 (no text){NEEDS}"),
        ({"cron": None}, "it has no cron"),
        ({"duration": None}, "it has no duration"),
        ({"duration": 0}, f"duration must be seconds from 1 to {LONGEST:.0f}, not 0"),
        ({"duration": True}, f"duration must be seconds from 1 to {LONGEST:.0f}, not true"),
        (
            {"time_zone": "Mars/One"},
            'time_zone "Mars/One" is not known: give one as Europe/Berlin, or UTC',
        ),
        (
            {"time_zone": "../etc/passwd"},
            'time_zone "../etc/passwd" is not known: give one as Europe/Berlin, or UTC',
        ),
        ({"target": 0}, "target must be a whole number from 1 to 1000000, not 0"),
        ({"min_instances": "2"}, 'min_instances must be a whole number from 0 to 256, not "2"'),
        ({"max_instances": None}, "it sets neither min_instances nor max_instances nor target"),
        (
            {"targt": 1},
            f"it has an unknown key targt: known are {KNOWN}",
        ),
    ],
)
def test_what_is_wrong_with_one_is_told_with_its_place(change: dict[str, Any], sentence: str) -> None:
    found = problem(DAILY | change)
    assert (str(found), found.param) == (f"{KEY}: {sentence}", KEY)


def test_what_is_no_list_of_objects_is_refused() -> None:
    assert str(problem(1)) == f"{KEY}: 1 is not an object of keys and values"
    with pytest.raises(DeploymentProblem, match=r"schedules must be a list of objects, not \"daily\""):
        read_document('{"model": "m", "scaling": {"schedules": "daily"}}')
    assert str(problem(*[DAILY] * 17)) == "auto_scaling_config.schedules must be at most 16, not 17"


def test_a_schedule_may_not_have_more_at_least_than_at_most() -> None:
    found = problem({"cron": "0 8 * * *", "duration": 60, "min_instances": 3}, max_instances=2)
    assert (
        str(found) == f"{KEY}: min_instances (3) is more than max_instances (2): raise max_instances as well"
    )
    found = problem(DAILY | {"max_instances": 1}, min_instances=2, max_instances=2)
    assert (
        str(found) == f"{KEY}: min_instances (2) is more than max_instances (1): raise max_instances as well"
    )
    read(DAILY | {"min_instances": 3}, min_instances=2, max_instances=2)
    read({"cron": "0 8 * * *", "duration": 60, "target": 3})
