"""Which head the worker obeys: the one that it dialled, of no lower epoch than it obeyed before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from structlog.testing import capture_logs
from tests.serving.kit import key, until

from sllm_actors.disk import Disk
from sllm_actors.serving.differences.publisher import Publisher
from sllm_actors.serving.streams import ORDERS
from sllm_actors.serving.worker.epoch import ObeyedEpoch

from .workplace import run, workplace

pytestmark = pytest.mark.anyio


def kept(home: Path) -> Any:
    return json.loads((home / "epoch.json").read_text())


async def test_the_epoch_is_kept_before_it_is_obeyed_and_told_to_heads(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        assert kept(tmp_path) == {"epoch": 1}
        place.head.orders = Publisher(ORDERS, "head", 7)
        await place.order(key(0))
        place.head.beat()
        await place.rest()
        assert kept(tmp_path) == {"epoch": 7}
        assert place.head.inventories[-1].epoch == 7
        assert set(place.states()) == {key(0)}


async def test_of_two_heads_the_one_of_the_lower_epoch_is_ignored_and_logged_once(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.order(key(0))
        await place.link("new", "head", epoch=5)
        place.head_at("new").order(run(key(0)), run(key(1)))
        await place.rest()
        with capture_logs() as logs:
            await place.order(key(2))  # and key(0) is to stop
            for _ in range(3):
                place.head.beat()
                await place.rest()
        assert set(place.states()) == {key(0), key(1)}
        ignored = [each for each in logs if each["event"] == "worker.head_ignored"]
        assert [(each["head"], each["epoch"], each["obeyed"]) for each in ignored] == [("head", 1, 5)]
        assert set(place.reported("head")) == {key(0), key(1)}  # what it follows is told to it all the same


async def test_of_two_heads_of_one_epoch_the_first_is_obeyed_as_long_as_it_is_linked(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.order(key(0))
        await place.link("new", "head", epoch=1)
        place.head_at("new").order(run(key(1)))
        place.head_at("new").beat()
        await place.rest()
        assert set(place.states()) == {key(0)}
        await place.lose("head")
        place.head_at("new").beat()
        await place.rest()
        assert set(place.states()) == {key(0), key(1)}


async def test_a_head_is_told_which_other_head_is_linked_and_obeyed(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.order(key(0))
        await place.link("new", "head", epoch=5)
        place.head_at("new").order(run(key(1)))
        await place.rest()
        assert place.head.inventories[-1].obeys == "new"
        assert place.head_at("new").inventories[-1].obeys == ""
        await place.lose("new")
        assert (place.head.inventories[-1].epoch, place.head.inventories[-1].obeys) == (5, "")
        await place.link("new", "head", epoch=5)
        assert place.head.inventories[-1].obeys == "new"  # else it would outbid the other one


async def test_a_head_that_rises_above_what_was_obeyed_is_obeyed(tmp_path: Path) -> None:
    (tmp_path / "epoch.json").write_text('{"epoch": 9}')
    async with workplace(tmp_path) as place:
        await place.order(key(0))
        assert place.states() == {}
        assert place.head.inventories[-1].epoch == 9
        place.head.orders = Publisher(ORDERS, "head", 10)
        await place.order(key(0))
        place.head.beat()
        await place.rest()
        assert set(place.states()) == {key(0)}


async def test_a_head_that_this_worker_did_not_dial_is_not_followed(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.link("other", "head", epoch=9, dialled=False)
        place.head_at("other").order(run(key(0)))
        place.head_at("other").beat()
        await place.rest()
        assert place.states() == {}
        assert place.network.told["other"] == []
        assert kept(tmp_path) == {"epoch": 1}


async def test_orders_of_a_node_that_is_not_linked_are_ignored(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.lose("head")
        await place.order(key(0))
        place.head.beat()
        await place.rest()
        assert place.states() == {}


async def test_a_worker_that_cannot_write_obeys_and_keeps_the_epoch_when_it_can(tmp_path: Path) -> None:
    home = tmp_path / "gone"
    with capture_logs() as logs:
        async with workplace(home) as place:
            await place.order(key(0))
            assert set(place.states()) == {key(0)}
            assert place.head.inventories[-1].epoch == 1
            await place.advance(11.0)
            home.mkdir()
            await place.advance(5.0)
            await until((home / "epoch.json").exists)
            assert kept(home) == {"epoch": 1}
    warnings = [each for each in logs if each["event"] == "worker.epoch_not_written"]
    assert [each["path"] for each in warnings] == [str(home / "epoch.json")]


async def test_the_epoch_outlives_the_worker(tmp_path: Path) -> None:
    path = tmp_path / "epoch.json"
    first = await to_thread.run_sync(ObeyedEpoch, path, Disk())
    assert first.value == 0
    await first.rise(3)
    await first.rise(2)
    later = await to_thread.run_sync(ObeyedEpoch, path, Disk())
    assert first.value == later.value == 3
