"""Rounds of random kills: nothing is ever left over, and every round ends ready.

``SLLM_SOAK_ROUNDS`` says how many, ``SLLM_SOAK_SEED`` which.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.cluster import Cluster

from .conftest import arguments_for
from .family import unused_memory, was_forked
from .soak import GPUS, Machine, deck, is_locked

ROUNDS = int(os.environ.get("SLLM_SOAK_ROUNDS", "2"))
SEED = int(os.environ.get("SLLM_SOAK_SEED") or random.randrange(2**32))

AGAIN = 0.3
"""How often a second kill strikes while everything comes back from the first."""

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(120 + 90 * ROUNDS)]


@pytest.fixture
def machine(vllm_python: str, tmp_path: Path) -> Iterator[Machine]:
    more = ("--fork-servers", "vllm", "--healthy-uptime", "1", "--gpus", str(len(GPUS)), "--allow-command")
    before = unused_memory()
    cluster = Cluster(tmp_path, *arguments_for(vllm_python), *more)
    try:
        machine = Machine(cluster, before)
        machine.deploy()
        yield machine
        cluster.sllm.look()
        assert cluster.sllm.stop() == 0, cluster.sllm.output
        assert cluster.sllm.left() == []
        assert unused_memory() <= before
        assert not any(is_locked(gpu) for gpu in GPUS)
    finally:
        cluster.close()


def test_after_every_round_of_kills_all_is_ready_and_nothing_is_left_over(machine: Machine) -> None:
    rng = random.Random(SEED)
    try:
        family = machine.wait_ready()
        assert was_forked(family.pid)
        for victim in deck(rng, list(machine.victims()), ROUNDS):
            assert machine.kill(victim)
            if rng.random() < AGAIN:
                time.sleep(rng.uniform(0.0, 6.0))
                machine.kill(rng.choice(list(machine.victims())))
            if family.pid in machine.lost:
                family.wait_until_gone(within=20)
                family = machine.wait_ready()
            else:  # whom the end of the fork server, or of another engine, must not touch
                assert machine.wait_ready() == family
            machine.wait_clean()
    finally:
        print(f"SLLM_SOAK_SEED={SEED}", *machine.told, sep="\n")  # noqa: T201 - shown when it fails
