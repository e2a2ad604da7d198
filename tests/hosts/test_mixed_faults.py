"""Two faults at a time, drawn at random: only for long runs, each round of which draws others."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from .bed import Bed, bed_of
from .conftest import ROUNDS
from .network import needs_hosts
from .scenario import scenario

SEED = int(os.environ.get("SLLM_SOAK_SEED") or random.SystemRandom().randrange(2**32))
"""The environment variable that draws the same ones again."""

pytestmark = [
    pytest.mark.allow_blocking,
    needs_hosts,
    pytest.mark.skipif(int(os.environ.get(ROUNDS) or 1) < 2, reason="for long runs: make soak-hosts"),
]

LOST = "g2"
"""The gateway that may be lost: its clients lose what they have there."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    names = ("head", "w1", "w2", "w3", "g1", LOST)
    with bed_of(tmp_path_factory.mktemp("hosts"), *names) as bed:
        bed.deploy()
        yield bed


def cut(bed: Bed, name: str) -> Callable[[], object]:
    bed.network.cut([bed.host(name)], bed.others(name))
    return bed.network.heal


def freeze(bed: Bed, name: str) -> Callable[[], object]:
    bed.host(name).freeze()
    return bed.host(name).thaw


def lose_power(bed: Bed, name: str) -> Callable[[], object]:
    bed.kill(name)
    return lambda: bed.start(name, joins=False)  # its head may be away still


def kill_node(bed: Bed, name: str) -> Callable[[], object]:
    os.kill(bed.node_process(name), signal.SIGKILL)
    return lambda: None


def stop(bed: Bed, name: str) -> Callable[[], object]:
    bed.stop(name)
    return lambda: bed.start(name, joins=False)  # its head may be away still


OF_WORKERS = (cut, freeze, lose_power, kill_node, stop)
OF_OTHERS = (freeze, lose_power, stop)


def test_two_faults_at_a_time_fail_nothing_but_streams_and_what_a_lost_gateway_had(
    bed: Bed, request: pytest.FixtureRequest
) -> None:
    number = request.node.callspec.params["hosts_round"]
    rng = random.Random(f"{SEED} {number}")
    first, second = rng.sample(["w1", "w2", "w3", "head", LOST], 2)
    faults = [(rng.choice(OF_WORKERS if name[0] == "w" else OF_OTHERS), name) for name in (first, second)]
    drawn = ", ".join(f"{fault.__name__} {name}" for fault, name in faults)
    print(f"SLLM_SOAK_SEED={SEED}, round {number}: {drawn}")  # noqa: T201 - how to draw it again
    with scenario(request, bed) as fault:
        fault.now()
        mends = []
        for break_it, name in faults:
            mends.append(break_it(bed, name))
            time.sleep(rng.choice((0.0, rng.uniform(0.0, 6.0))))  # before or after others have noticed it
        rng.shuffle(mends)
        for mend in mends:
            mend()
        bed.wait_whole()
        fault.clients.wait_for_answers()
    of_others = [each for each in fault.failed(streamed=False) if each.gateway != bed.url(LOST)]
    assert not of_others, (drawn, of_others[:3])
