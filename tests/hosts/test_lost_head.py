"""The head's machine loses its power while clients ask; the head starts again, with its store or without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .bed import Bed, bed_of
from .host import DATA
from .network import needs_hosts
from .scenario import scenario

pytestmark = [pytest.mark.allow_blocking, needs_hosts]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with bed_of(tmp_path_factory.mktemp("hosts"), "head", "w1", "w2", "g1") as bed:
        bed.deploy()
        yield bed


def lose_store(head: Path) -> None:
    """Delete what the head has written of deployments; its key, its secret and its identity stay."""
    for file in [*head.glob("state.db*"), *head.glob("deployments.json*")]:
        file.unlink()
    assert (head / "head.key").exists()


@pytest.mark.parametrize("store", ["kept", "lost"])
def test_a_head_that_was_killed_takes_back_what_runs(
    bed: Bed, request: pytest.FixtureRequest, store: str
) -> None:
    before = bed.wait_ready()
    with scenario(request, bed) as fault:
        fault.at = bed.kill("head")
        fault.is_seen_by(lambda: not bed.status())
        fault.clients.wait_for_answers()
        if store == "lost":
            lose_store(bed.host("head").path(DATA))
        bed.start("head")
        bed.wait_up("w1")
        bed.wait_up("w2")
        after = bed.wait_ready()
        fault.clients.wait_for_answers()
    fault.nothing_failed()
    assert after["uid"] == before["uid"]
    assert after["recovered"] == (store == "lost" or before["recovered"])
    assert {each["pid"] for each in after["instances"]} == {each["pid"] for each in before["instances"]}


def test_an_engine_that_dies_while_the_head_is_away_is_started_again_by_its_worker(
    bed: Bed, request: pytest.FixtureRequest
) -> None:
    before = bed.engines()
    with scenario(request, bed) as fault:
        bed.kill("head")
        fault.now()
        dies = min(before)
        bed.host("w1").run("kill", "-9", str(dies))
        fault.served()
        bed.start("head")
        after = bed.engines()
        fault.clients.wait_for_answers()
    fault.only_streams_broke()
    assert after & before == before - {dies}
