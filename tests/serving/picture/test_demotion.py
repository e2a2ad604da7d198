"""Idle replicas make way by falling asleep, as far as that is enough, and wake once there is room again."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.models.eviction import CachedModel
from sllm_actors.serving.decisions.swapping import RETURN
from sllm_actors.serving.messages import Gpu
from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.picture.eviction.claims import PATIENCE
from sllm_actors.serving.picture.eviction.contenders import LOOK_AGAIN
from sllm_actors.serving.views.reasons import what_it_waits_for

from .sharing import scaled
from .test_waiting import TICK, Clients, Model
from .world import World

GIB = 2**30


class Box:
    """A worker with GPUs of a known size, and deployments whose engines can sleep."""

    def __init__(self, *names: str, gpus: int = 1, kept: int = GIB, slots: int | None = None) -> None:
        self.world = World()
        self.machine = self.world.worker("a", gpus=0, slots=slots)
        sized = tuple(Gpu(f"a-{number}", memory_total=80 * GIB) for number in range(gpus))
        self.machine.inventory = evolve(self.machine.inventory, gpus=sized)
        self.machine.kept = kept
        self.world.inventory("a")
        self.known: dict[str, Deployment] = {name: self.deploy(name) for name in names}

    def deploy(self, name: str, **document: Any) -> Deployment:
        return self.world.deploy(name, **{**scaled(), **document})

    def ready(self, *, can_sleep: bool = True) -> None:
        """Let what starts be ready, on a GPU that nothing awake has."""
        for key, report in list(self.machine.running.items()):
            if report.state is ReplicaState.STARTING:
                fields = {"devices": (free_gpu(self.machine.running.values(), self.machine.inventory.gpus),)}
                more = {"gpu_reserved": 80 * GIB, "can_sleep": can_sleep}
                self.world.say("a", key, ReplicaState.READY, **fields, **more)

    def ask(self, name: str) -> None:
        """Let a request be answered, and the deployment be idle for long enough to go for others."""
        known = self.known[name]
        self.world.want(known.id, held=1)
        self.ready()
        self.world.want(known.id, in_flight=1, uses=1)
        self.world.want(known.id)
        self.world.wait(RETURN)

    @property
    def states(self) -> dict[str, str]:
        running = self.machine.running
        return {key.deployment.partition(":")[0]: each.state.value for key, each in running.items()}


def is_asleep(report: ReplicaReport) -> bool:
    """Return whether an engine has given back the memory of its GPU."""
    may = report.state in (ReplicaState.ASLEEP, ReplicaState.DRAINING)
    return may and report.level is not None and not report.progress


def free_gpu(reports: Any, gpus: Any) -> str:
    """Return a GPU that no engine has which is awake, or about to sleep or wake: the worker gives it."""
    held = {uuid for each in reports for uuid in each.devices if not is_asleep(each)}
    free = [gpu.uuid for gpu in gpus if gpu.uuid not in held]
    assert free, "its worker would refuse it: no_room"
    return str(free[0])


def test_two_that_share_a_gpu_take_turns_in_sleeping() -> None:
    box = Box("m", "n")
    box.ask("m")
    (key,) = box.known["m"].replicas
    box.ask("n")
    assert box.states == {"m": "asleep", "n": "ready"}
    box.ask("m")
    assert box.states == {"m": "ready", "n": "asleep"}
    assert list(box.known["m"].replicas) == [key], "it woke, and no other one was started"
    (first, second) = box.world.told("replica.evicted")
    assert first.endswith("on a is idle, and n:command needs its room: it sleeps at level 1")
    assert second.endswith("on a is idle, and m:command needs its room: it sleeps at level 1")
    assert box.world.told("replica.stopped") == []
    box.world.wait(3600)
    assert box.states == {"m": "ready", "n": "asleep"}, "what went for it does not come back unasked"
    assert box.world.audit() == []


def test_nothing_starts_and_nothing_wakes_before_memory_is_proven_to_be_free() -> None:
    box = Box("m", "n")
    box.ask("m")
    (m,) = box.known["m"].replicas
    box.machine.drowsy = True
    box.world.want("n:command", held=1)
    assert box.states == {"m": "asleep"}, "but it is only falling asleep"
    assert "has room for it as soon as m:command" in what_it_waits_for(
        box.world.picture, box.known["n"], box.world.now
    )
    box.world.say("a", m, ReplicaState.ASLEEP, progress="", gpu_reserved=GIB)
    assert box.states == {"m": "asleep", "n": "starting"}
    box.ready()
    (n,) = box.known["n"].replicas
    box.world.want("n:command")
    box.world.want("m:command", held=1)
    box.world.wait(RETURN)
    assert box.machine.running[n].progress == "falling asleep"
    assert box.machine.orders[m].sleep == 1, "it is not to wake yet"
    assert what_it_waits_for(box.world.picture, box.known["m"], box.world.now) == (
        f"a has room for it to wake as soon as {n} is asleep"
    )
    assert box.world.audit() == []
    box.world.say("a", n, ReplicaState.ASLEEP, progress="", gpu_reserved=GIB)
    assert box.machine.orders[m].sleep is None
    assert box.machine.running[m].progress == "waking up"
    assert box.world.audit() == []


def test_what_keeps_too_much_as_it_sleeps_is_stopped_and_the_next_time_at_once() -> None:
    box = Box("m", "n", kept=60 * GIB)
    box.ask("m")
    box.ask("n")
    assert box.states == {"n": "ready"}
    assert len(box.world.told("replica.evicted")) == 2, "asleep, it left too little"
    box.ask("m")
    box.ask("n")
    told = box.world.told("replica.evicted")
    assert [": it sleeps" in each for each in told if each.startswith("m:")] == [True, False, False]


@pytest.mark.parametrize("kept", [{"slots": 1}, {"gpus": 1}])
def test_of_a_slot_a_sleeper_frees_nothing(kept: dict[str, int]) -> None:
    box = Box("m", "n", **kept)
    box.ask("m")
    box.ask("n")
    assert box.states == ({"n": "ready"} if "slots" in kept else {"m": "asleep", "n": "ready"})


def test_one_that_must_not_sleep_or_cannot_is_stopped() -> None:
    box = Box("n")
    box.known["m"] = box.deploy("m", **scaled(sleep_level=0))
    box.ask("m")
    box.ask("n")
    assert box.states == {"n": "ready"}
    box.world.want("m:command", held=1)
    box.ready(can_sleep=False)
    box.world.want("m:command")
    box.world.wait(RETURN)
    box.ask("n")
    assert box.states == {"n": "ready"}


@pytest.mark.parametrize(("said", "level"), [(None, 2), (1, None), (2, 2)])
def test_where_memory_is_short_one_sleeps_deep_or_not_at_all(said: int | None, level: int | None) -> None:
    box = Box("n")
    weights = CachedModel("hf:org/large", 8 * GIB)
    box.machine.inventory = evolve(box.machine.inventory, memory_free=4 * GIB, models=(weights,))
    box.world.inventory("a")
    scaling = scaled() if said is None else scaled(sleep_level=said)
    box.known["large"] = box.deploy("large", source="hf:org/large", **scaling)
    box.ask("large")
    (key,) = box.known["large"].replicas
    box.world.want("n:command", held=1)
    assert box.machine.orders[key].sleep == level if level else key not in box.machine.running


def test_a_wake_that_finds_no_idle_room_waits_for_its_turn_and_stays_asleep_meanwhile() -> None:
    box = Box("m", "n")
    box.ask("m")
    box.world.want("n:command", held=1)
    box.ready()
    box.world.want("n:command", in_flight=1, uses=1)
    (m,) = box.known["m"].replicas
    box.world.want("m:command", held=1)
    box.world.wait(5)
    assert box.states == {"m": "asleep", "n": "ready"}
    box.world.wait(60)
    box.ready()
    assert box.states["m"] == "ready"
    assert list(box.known["m"].replicas) == [m], "it woke, and no other one was started"
    assert box.world.audit() == []


def test_one_that_is_wanted_elsewhere_does_not_wait_for_its_own_place() -> None:
    box = Box("m", "n")
    box.ask("m")
    box.world.want("n:command", held=1)
    box.ready()
    box.world.want("n:command", in_flight=1, uses=1)
    box.world.worker("b", gpus=1)
    box.world.want("m:command", held=1)
    assert box.states == {"n": "ready"}
    assert box.world.states("b") == [(1, "starting")]


def test_what_does_not_fall_asleep_in_time_is_stopped() -> None:
    box = Box("m", "n")
    box.ask("m")
    box.machine.drowsy = True
    box.world.want("n:command", held=1)
    box.world.wait(box.known["m"].spec.drain_timeout + PATIENCE + 1)
    assert box.states == {"n": "starting"}


def test_what_did_not_fall_asleep_in_time_and_was_kept_falls_asleep_the_next_time() -> None:
    box = Box("m", "n")
    box.ask("m")
    (m,) = box.known["m"].replicas
    box.machine.drowsy = True
    box.world.want("n:command", held=1)
    box.machine.busy.add(m)
    box.world.wait(box.known["m"].spec.drain_timeout + PATIENCE + 1)
    assert box.world.told("replica.kept")
    box.machine.drowsy = False
    box.machine.busy.clear()
    box.world.say("a", m, ReplicaState.READY, progress="", level=None, gpu_reserved=80 * GIB)
    box.world.wait(10)
    assert box.states == {"m": "asleep", "n": "starting"}


def test_one_that_is_busy_after_all_keeps_its_room() -> None:
    box = Box("m", "n")
    box.ask("m")
    (key,) = box.known["m"].replicas
    box.machine.busy.add(key)
    box.world.want("n:command", held=1)
    assert box.states == {"m": "ready"}
    box.machine.busy.clear()
    box.world.wait(10)
    assert box.states == {"m": "asleep", "n": "starting"}


def test_a_sleeper_that_is_lost_while_room_is_made_for_it_is_replaced() -> None:
    box = Box("m", "n")
    box.ask("m")
    box.ask("n")
    (m,) = box.known["m"].replicas
    box.machine.drowsy = True
    box.world.want("m:command", held=1)
    box.world.say("a", m, ReplicaState.STOPPED)
    del box.machine.running[m]
    (n,) = box.known["n"].replicas
    box.world.say("a", n, ReplicaState.ASLEEP, progress="", gpu_reserved=GIB)
    assert box.states == {"n": "asleep", "m": "starting"}
    assert box.world.audit() == []


def test_an_engine_that_started_anew_instead_of_sleeping_is_told_once_more() -> None:
    box = Box("m", "n")
    box.ask("m")
    (m,) = box.known["m"].replicas
    box.machine.drowsy = True
    box.world.want("n:command", held=1)
    before = box.machine.orders[m]
    box.machine.put(m, ReplicaState.STARTING, level=None)
    box.world.say("a", m, ReplicaState.STARTING, level=None)
    box.world.say("a", m, ReplicaState.READY, level=None)
    assert box.machine.orders[m].sleep == 1
    assert box.machine.orders[m].turn > before.turn
    assert box.machine.running[m].state is ReplicaState.ASLEEP


def waits_to_wake(*names: str) -> Box:
    """Return a box of which the first model sleeps, and the second one answers a long request meanwhile."""
    box = Box(*names)
    box.ask("m")
    box.world.want("n:command", held=1)
    box.ready()
    box.world.want("n:command", in_flight=1, uses=1)
    box.world.want("m:command", held=1)
    assert (box.states["m"], box.states["n"]) == ("asleep", "ready")
    return box


def test_one_that_waits_to_wake_does_so_when_its_gpu_is_free_by_itself() -> None:
    box = waits_to_wake("m", "n")
    box.world.delete(box.known["n"])
    assert box.states == {"m": "ready"}


def test_those_that_wait_to_wake_and_to_start_take_turns() -> None:
    box = waits_to_wake("m", "n", "o")
    box.world.want("o:command", held=1)
    box.world.now += 15.0
    box.world.want("o:command", held=2)  # it is looked at before the other one
    for _ in range(20):
        box.world.wait(3)
        box.ready()
    told = [each for each in box.world.journal if each.kind in ("replica.woken", "replica.placed")]
    assert [(each.kind, each.subject) for each in told[2:4]] == [
        ("replica.woken", "m:command"),
        ("replica.placed", "o:command"),
    ]
    assert box.world.audit() == []


def test_nobody_sleeps_for_another_while_the_head_doubts_what_it_knows_of_its_workers() -> None:
    box = Box("m", "n")
    box.ask("m")
    box.ask("n")
    for name in ("b", "c"):
        box.world.worker(name, gpus=0)
        box.world.unlink(name)
    for requests in (0, 1):
        box.world.want("n:command", in_flight=requests, uses=2 * requests)
        box.world.want("m:command", held=1)
        assert box.states == {"m": "asleep", "n": "ready"}
    box.world.link("b")
    box.world.wait(31)
    assert box.states == {"m": "ready", "n": "asleep"}


def test_room_is_looked_for_again_when_what_was_to_fall_asleep_is_busy() -> None:
    box = Box("m", "n")
    box.ask("m")
    box.ask("n")
    (n,) = box.known["n"].replicas
    box.machine.drowsy = True
    box.world.want("m:command", held=1)
    box.machine.busy.add(n)
    box.world.say("a", n, ReplicaState.READY, level=None, progress="", declined=1)
    assert box.states == {"m": "asleep", "n": "ready"}
    box.machine.busy.clear()
    box.machine.drowsy = False
    box.world.wait(10)
    assert box.states == {"m": "ready", "n": "asleep"}


def test_what_is_still_starting_is_stopped() -> None:
    box = Box("m", "n")
    box.world.want("m:command", held=1)
    (key,) = box.known["m"].replicas
    box.world.say("a", key, ReplicaState.STARTING, devices=("a-0",), gpu_reserved=80 * GIB)
    box.world.want("m:command")
    box.world.want("n:command", held=1)
    assert box.states == {"n": "starting"}


def test_an_idle_replica_of_another_worker_goes_if_nothing_can_where_one_sleeps() -> None:
    box = waits_to_wake("m", "n", "o")
    box.world.worker("b", gpus=1)
    box.world.wait(1)
    assert box.world.states("b") == [(1, "starting")]
    other = Box("m")
    other.ask("m")
    pinned = other.deploy("p", pinned=True)
    other.world.want(pinned.id, held=1)
    other.ready()
    other.world.want(pinned.id)
    other.world.worker("b", gpus=1)
    idle = other.world.deploy("i", **scaled())
    other.world.want(idle.id, held=1)
    (key,) = idle.replicas
    other.world.say("b", key, ReplicaState.READY)
    other.world.want(idle.id)
    other.world.want("m:command", held=1)
    other.world.wait(LOOK_AGAIN)
    assert other.states == {"p": "ready"}
    assert [key.deployment for key in other.world.machines["b"].running] == ["m:command"]


def test_an_engine_without_gpus_wakes_at_once() -> None:
    box = Box()
    known = box.deploy("cpu", num_gpus=0, auto_scaling_config={"min_instances": 0, "keep_alive": 1})
    box.known["cpu"] = known
    box.world.want(known.id, held=1)
    (key,) = known.replicas
    box.world.say("a", key, ReplicaState.READY, can_sleep=True)
    box.world.want(known.id)
    box.world.wait(2)
    assert box.states == {"cpu": "asleep"}
    box.world.want(known.id, held=1)
    assert box.states == {"cpu": "ready"}


class Sleepers(Clients):
    """The clients of engines that can sleep, on GPUs: falling asleep and waking take some time, too."""

    def __init__(self, seed: int, models: int, gpus: int) -> None:
        super().__init__(seed, 0, 1)
        box = Box(gpus=gpus)
        box.machine.slow = box.machine.drowsy = True
        self.world, self.gpus = box.world, box.machine.inventory.gpus
        for number in range(models):
            known = box.deploy(f"m{number}", auto_scaling_config={"min_instances": 0, "target": 16})
            self.models.append(Model(known.id, self.chance.choice([0.5, 2.0, 6.0])))
        self.wakes = 0
        self.can_sleep = {model.id: self.chance.random() < 0.8 for model in self.models}

    def _serve(self, model: Model) -> None:
        machine = self.world.machines["a"]
        for key, report in list(machine.running.items()):
            if key.deployment != model.id:
                continue
            if report.state is ReplicaState.STARTING and not report.devices:
                gpu = free_gpu(machine.running.values(), self.gpus)
                fields = {"devices": (gpu,), "gpu_reserved": 80 * GIB, "can_sleep": self.can_sleep[model.id]}
                self.world.say("a", key, ReplicaState.STARTING, **fields)
            elif report.level is not None and report.progress and model.in_flight:
                continue  # it falls asleep when these have ended
            elif report.state is ReplicaState.ASLEEP and report.progress and self.chance.random() < 0.5:
                self.wakes += report.level is None
                machine.changed_tier(key)
                self.world.say("a", key, machine.running[key].state)
        self.nothing_is_over_committed()
        super()._serve(model)

    def nothing_is_over_committed(self) -> None:
        for gpu in self.gpus:
            here = [each for each in self.world.machines["a"].running.values() if gpu.uuid in each.devices]
            kept = [each for each in here if is_asleep(each)]
            assert len(here) - len(kept) <= 1, f"{gpu.uuid} has two engines that are awake"
            assert len(kept) <= 40, "half of the GPU is left for the one that is awake"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_with_sleeps_and_wakes_nothing_is_over_committed_and_nobody_waits_for_ever(seed: int) -> None:
    clients = Sleepers(seed, models=3 + seed, gpus=1 + seed % 2)
    clients.run(600.0, rate=0.2)
    assert clients.answered > 50
    assert clients.wakes > 0
    assert 0.0 < clients.waited <= clients.bound + 8 * TICK * len(clients.models)
    assert clients.world.audit() == []
