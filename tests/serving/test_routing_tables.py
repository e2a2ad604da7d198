"""Gateways are told what is new, once, under a number that rises."""

from __future__ import annotations

import itertools

from sllm_actors.serving.messages import ServedModel, WorkerAddress
from sllm_actors.serving.routing_tables import RoutingTables

from .kit import deployment

HERE = (WorkerAddress("w1", "10.0.0.1", 8002),)


def test_a_table_lists_what_is_active() -> None:
    tables = RoutingTables(3, itertools.count(1))
    known = {
        each.spec.id: each
        for each in (deployment("b", hold_limit=2, hold_timeout=3), deployment("a", deleting=True))
    }
    table = tables.update(known, HERE)
    assert table is not None
    assert table.epoch == (3, 1)
    assert table.workers == HERE
    assert table.models == (
        ServedModel("b:llamacpp", "b", "llamacpp", revision=1, hold_limit=2, hold_timeout=3),
    )
    assert tables.current == table


def test_nothing_new_makes_no_table() -> None:
    tables = RoutingTables(3, itertools.count(1))
    assert tables.update({}, ()) is not None  # the first one: nothing is deployed
    assert tables.update({}, ()) is None


def test_epochs_rise_over_changes_restarts_of_the_controller_and_lives_of_the_head() -> None:
    numbers = itertools.count(1)
    epochs = []
    for tables in (
        RoutingTables(3, numbers),
        RoutingTables(3, numbers),
        RoutingTables(4, itertools.count(1)),
    ):
        for workers in (HERE, ()):
            table = tables.update({}, workers)
            assert table is not None
            epochs.append(table.epoch)
    assert epochs == sorted(set(epochs))
