"""How long requests wait where there are more models than room: the bound, on virtual time."""

from __future__ import annotations

import random

import pytest
from attrs import define, field

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.decisions.swapping import QUANTUM, STALENESS
from sllm_actors.serving.picture.events import ReplicasReported

from .world import World

TICK = 0.25
TARGET = 16
LONGEST = 3.0
"""Seconds that a request takes at most."""


@define(eq=False)
class Model:
    """What the clients of one deployment want, and when its engine is ready that starts."""

    id: str
    start: float
    held: list[float] = field(factory=list)
    in_flight: list[float] = field(factory=list)
    ready_at: dict[ReplicaKey, float] = field(factory=dict)
    uses: int = 0
    told: tuple[int, int, int] = (0, 0, 0)


class Clients:
    """Gateways and engines, as simple as they can be: one worker, and requests of some seconds each."""

    def __init__(self, seed: int, models: int, slots: int) -> None:
        self.chance = random.Random(seed)
        self.world = World()
        self.world.worker("a", gpus=0, slots=slots)
        self.world.machines["a"].slow = True
        scaling = {"auto_scaling_config": {"min_instances": 0, "target": TARGET}}
        self.models = [
            Model(self.world.deploy(f"m{number}", **scaling).id, self.chance.choice([0.5, 2.0, 6.0]))
            for number in range(models)
        ]
        self.waited = 0.0
        self.answered = 0
        self.starts = 0

    @property
    def bound(self) -> float:
        """The longest that a request may wait: see ``docs/head.md``."""
        turns = sum(max(QUANTUM, model.start) + model.start + LONGEST for model in self.models)
        return STALENESS + turns + 2 * TICK * len(self.models)

    def run(self, seconds: float, rate: float, *, greedy: bool = False) -> None:
        """Let requests come for so long, by Zipf's law, and all of them be answered.

        With ``greedy`` the clients of the first model always want something.
        """
        world = self.world
        weights = [1 / (rank + 1) for rank in range(len(self.models))]
        until = world.now + seconds
        while world.now < until or any(model.held or model.in_flight for model in self.models):
            if world.now < until and self.chance.random() < rate * TICK:
                (model,) = self.chance.choices(self.models, weights)
                model.held.append(world.now)
                model.uses += 1
            if greedy and world.now < until and not self.models[0].held:
                self.models[0].held.append(world.now)
                self.models[0].uses += 1
            for model in self.models:
                self._serve(model)
            world.wait(TICK)
            assert world.now < until + 10 * self.bound, "some are never answered"

    def _serve(self, model: Model) -> None:
        world, machine = self.world, self.world.machines["a"]
        model.in_flight = [end for end in model.in_flight if end > world.now]
        for key, report in list(machine.running.items()):
            if key.deployment != model.id:
                continue
            if report.state is ReplicaState.STARTING:
                if key not in model.ready_at:
                    model.ready_at[key] = world.now + model.start
                    self.starts += 1
                elif world.now >= model.ready_at[key]:
                    world.say("a", key, ReplicaState.READY)
            elif report.state is ReplicaState.DRAINING and not model.in_flight:
                del machine.running[key]
                world.send(ReplicasReported("a", (), (key,)))
        ready = any(
            key.deployment == model.id and report.state is ReplicaState.READY
            for key, report in machine.running.items()
        )
        while ready and model.held and len(model.in_flight) < TARGET:
            self.waited = max(self.waited, world.now - model.held.pop(0))
            model.in_flight.append(world.now + self.chance.uniform(0.2, LONGEST))
            self.answered += 1
        held, in_flight = len(model.held), len(model.in_flight)
        if model.told != (held, in_flight, model.uses):
            model.told = (held, in_flight, model.uses)
            world.want(model.id, held=held, in_flight=in_flight, uses=model.uses if held + in_flight else 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_no_request_waits_longer_than_the_turns_of_all(seed: int) -> None:
    clients = Clients(seed, models=3 + seed, slots=1 + seed % 2)
    clients.run(240.0, rate=3.0)
    assert clients.answered > 100
    assert 0.0 < clients.waited <= clients.bound
    assert clients.world.audit() == []


def test_clients_that_never_stop_asking_keep_nobody_else_waiting_longer_than_the_bound() -> None:
    clients = Clients(0, models=4, slots=1)
    clients.run(240.0, rate=0.5, greedy=True)
    assert clients.waited <= clients.bound
    assert any(each.kind == "deployment.swapped" for each in clients.world.journal)


def test_requests_that_alternate_between_two_models_do_not_make_them_swap_each_time() -> None:
    clients = Clients(0, models=2, slots=1)
    for model in clients.models:
        model.start = 2.0
    clients.run(240.0, rate=3.0)
    assert clients.answered > 500
    assert clients.starts < clients.answered / 8
    swaps = [each for each in clients.world.journal if each.kind == "deployment.swapped"]
    assert len(swaps) <= 240.0 / QUANTUM + 10, "each has its quantum"
