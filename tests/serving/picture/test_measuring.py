"""What the head learns of how long replicas take, and what it tells gateways of that."""

from __future__ import annotations

from typing import Any

import pytest

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.decisions.start_cost import CostKey, Tier
from sllm_actors.serving.picture.events import TimePassed

from .world import World


class Measuring:
    """One replica of a deployment, of which a test says how long it took."""

    def __init__(self) -> None:
        self.world = World()
        self.world.worker("a")
        self.deployment = self.world.deploy("m")
        (self.key,) = self.deployment.replicas
        self.engine = self.deployment.revisions[1].fingerprint

    def say(self, state: ReplicaState, **fields: Any) -> None:
        key: ReplicaKey = self.key
        self.world.say("a", key, state, fingerprint=self.engine, **fields)

    def known(self, tier: Tier = Tier.STOPPED) -> float | None:
        return self.world.picture.costs.measured(CostKey(self.engine, "a", tier))

    def told(self) -> tuple[float, float]:
        route = self.world.routes[self.deployment.id]
        return route.starts_in, route.wakes_in


def test_each_start_is_learned_once_and_gateways_hear_of_it() -> None:
    seen = Measuring()
    seen.say(ReplicaState.READY, starts=1, started_in=10.04)
    assert (seen.known(), seen.told()) == (10.04, (10.0, 0.0))
    seen.say(ReplicaState.READY, starts=1, started_in=10.04, progress="still")
    seen.say(ReplicaState.STARTING, starts=2, started_in=10.04)
    seen.say(ReplicaState.READY, starts=2, started_in=20.04)
    assert seen.known() == pytest.approx(0.7 * 10.04 + 0.3 * 20.04)
    assert seen.told() == (13.0, 0.0)
    assert seen.world.audit() == []


def test_a_wake_is_learned_by_the_level_of_the_sleep() -> None:
    seen = Measuring()
    seen.say(ReplicaState.READY, starts=1, started_in=10.0)
    seen.say(ReplicaState.ASLEEP, level=2, woke_in=0.0)
    seen.say(ReplicaState.ASLEEP, level=None)
    seen.say(ReplicaState.READY, woke_in=0.5)
    assert (seen.known(Tier.ASLEEP_2), seen.known(Tier.ASLEEP_1), seen.known()) == (0.5, None, 10.0)
    assert seen.told() == (10.0, 0.5)


def test_who_declines_to_sleep_has_not_woken() -> None:
    seen = Measuring()
    seen.say(ReplicaState.READY, starts=1, started_in=10.0)
    seen.say(ReplicaState.ASLEEP, level=1, woke_in=0.0)
    seen.say(ReplicaState.READY, level=None, declined=1)
    assert seen.known(Tier.ASLEEP_1) is None
    assert seen.known() == 10.0


def test_a_replica_that_a_new_head_finds_tells_only_what_is_not_known() -> None:
    seen = Measuring()
    seen.say(ReplicaState.READY, starts=1, started_in=10.0)
    seen.world.restart_head()
    assert seen.known() == 10.0, "it was not kept, and is learned from the replica"
    seen.world.unlink("a")
    seen.world.wait(11)
    seen.world.link("a")
    assert seen.known() == 10.0, "it is known already"


def test_nothing_is_learned_from_what_was_not_measured() -> None:
    seen = Measuring()
    seen.say(ReplicaState.READY, starts=1)
    seen.world.say("a", seen.key, ReplicaState.READY, starts=2, started_in=3.0, fingerprint="")
    assert seen.known() is None
    assert seen.told() == (0.0, 0.0)


def test_what_is_measured_while_a_deployment_is_changed_is_told_after_that() -> None:
    seen = Measuring()
    assert seen.world.picture.hold(seen.deployment.id)
    seen.say(ReplicaState.READY, starts=1, started_in=10.0)
    assert seen.told() == (0.0, 0.0)
    seen.world.picture.release(seen.deployment.id)
    seen.world.send(TimePassed())
    assert seen.told() == (10.0, 0.0)


def test_a_change_of_demand_that_changes_no_answer_waits_for_what_is_to_be_planned_anyway() -> None:
    seen = Measuring()
    seen.say(ReplicaState.READY, starts=1)
    seen.world.want(seen.deployment.id, in_flight=1)
    assert seen.world.picture.hold(seen.deployment.id)
    seen.say(ReplicaState.FAILED, failures=1)
    seen.world.want(seen.deployment.id, in_flight=2)
    assert not seen.world.picture.is_planned(seen.deployment)
    seen.world.picture.release(seen.deployment.id)
    seen.world.send(TimePassed())
    assert seen.world.audit() == []


def test_what_ends_of_a_revision_that_is_not_known_is_only_waited_for() -> None:
    seen = Measuring()
    old = ReplicaKey(seen.deployment.id, 9, 99, seen.deployment.uid)
    seen.world.machines["a"].slow = True
    seen.world.say("a", old, ReplicaState.DRAINING)
    seen.world.say("a", old, ReplicaState.DRAINING, failures=1)
    assert old in seen.deployment.replicas
    seen.world.end("a")
    assert old not in seen.deployment.replicas


def test_a_level_of_sleep_that_is_told_twice_is_one_sleep() -> None:
    seen = Measuring()
    seen.say(ReplicaState.READY, starts=1)
    seen.say(ReplicaState.ASLEEP, level=1)
    since = seen.deployment.replicas[seen.key].asleep_since
    seen.world.wait(5)
    seen.say(ReplicaState.ASLEEP, level=1, progress="sound")
    assert seen.deployment.replicas[seen.key].asleep_since == since


def test_a_deployment_that_a_person_wakes_while_it_has_requests_is_not_at_rest() -> None:
    seen = Measuring()
    seen.say(ReplicaState.READY, starts=1)
    seen.world.want(seen.deployment.id, in_flight=1)
    seen.deployment.used(seen.world.now)
    assert seen.deployment.scaler.rest is None
