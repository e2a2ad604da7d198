"""The head reads the files of time zones beside its event loop; the fixture ``blockbuster`` fails it else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from sllm_actors.serving.deployment import time_zones
from sllm_actors.serving.messages import Deploy, UpdateDeployment

from .head import SETTLE_TIME, running_head
from .kit import spec

pytestmark = pytest.mark.anyio

ID = "m:llamacpp"

ZONES = tuple(f"Etc/GMT+{hours}" for hours in range(1, 13))
"""More than ``ZoneInfo`` itself remembers."""


@pytest.fixture(autouse=True)
def no_zone_was_read_before() -> Iterator[None]:
    time_zones._time_zone.cache_clear()
    ZoneInfo.clear_cache()
    yield
    time_zones._time_zone.cache_clear()


def each_minute(*zones: str) -> dict[str, Any]:
    """Return a scaling with as many schedules, each of which always holds."""
    each = {"cron": "* * * * *", "duration": 120, "min_instances": 1}
    return {"min_instances": 0, "schedules": [each | ({"time_zone": zone} if zone else {}) for zone in zones]}


def text_of(*zones: str) -> str:
    document = {"model": "m", "backend": "llamacpp", "source": "/models/m.gguf"}
    return json.dumps(document | {"auto_scaling_config": each_minute(*zones)})


@pytest.mark.slow
@pytest.mark.parametrize("zones", [ZONES, ("",), ("America/Argentina/Ushuaia",)])
async def test_a_schedule_of_a_new_zone_holds_at_once_and_after_a_restart(
    tmp_path: Path, zones: tuple[str, ...]
) -> None:
    async with running_head(tmp_path) as head:
        worker = await head.join("w1")
        outcome, said = await head.ask(Deploy(text_of(*zones)))
        assert (outcome, said["created"]) == ("done", True)
        await head.rest()
        assert [key.deployment for key in worker.runs] == [ID]
        await head.advance(180.0)
        assert (await head.describe(ID))["desired_replicas"] == 1
    time_zones._time_zone.cache_clear()
    ZoneInfo.clear_cache()
    async with running_head(tmp_path) as head:
        await head.join("w1")
        await head.advance(SETTLE_TIME)
        assert (await head.describe(ID))["desired_replicas"] == 1


async def test_a_patch_may_name_a_new_zone(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        worker = await head.join("w1")
        await head.deploy(spec(replicas=0))
        patch = json.dumps({"auto_scaling_config": each_minute("Pacific/Chatham")})
        outcome, _ = await head.ask(UpdateDeployment(ID, patch.replace("schedules", "s\\u0063hedules")))
        assert outcome == "done"
        await head.rest()
        assert [key.deployment for key in worker.runs] == [ID]


@pytest.mark.slow
async def test_a_deployment_that_is_taken_back_from_a_worker_may_name_a_new_zone(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    async with running_head(tmp_path / "one") as head:
        worker = await head.join("w1")
        await head.ask(Deploy(text_of("Pacific/Chatham")))
        await head.rest()
        await head.ready("w1")
        (key,) = worker.runs
        run = worker.orders[key].run
        assert run is not None
        running = tuple(worker.replicas.page(None).entries)
    time_zones._time_zone.cache_clear()
    ZoneInfo.clear_cache()
    async with running_head(tmp_path / "two") as head:
        head.documents[key.uid] = run.document
        await head.join("w1", *running)
        await head.advance(SETTLE_TIME)
        assert (await head.describe(ID))["uid"] == key.uid


@pytest.mark.parametrize("zone", ["Mars/Base", "Europe", "../../etc/passwd", "x" * 1000, "\0"])
async def test_a_zone_that_is_none_is_refused_in_one_sentence(tmp_path: Path, zone: str) -> None:
    async with running_head(tmp_path) as head:
        outcome, said = await head.ask(Deploy(text_of("Pacific/Chatham", zone)))
        assert (outcome, said["code"]) == ("invalid", "invalid_deployment")
        assert "is not known: give one as Europe/Berlin, or UTC" in said["message"]
