"""What a step touches does not grow with the cluster: counted, not timed."""

from __future__ import annotations

import pytest

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.picture.fleet import Fleet
from sllm_actors.serving.picture.node import KnownNode
from sllm_actors.serving.picture.planning.planner import Planner

from .world import World


def _counted(patch: pytest.MonkeyPatch, deployments: int, workers: int) -> dict[str, int]:
    """Return how often what was called for a report that moves one replica, and for one more deployment."""
    world = World()
    for index in range(workers):
        world.worker(f"w{index}", gpus=8)
    for index in range(deployments):
        world.deploy(f"m{index}", num_gpus=index % 2)
    world.ready()
    calls: dict[str, int] = {}
    for owner, name in ((Planner, "plan"), (Fleet, "weigh"), (KnownNode, "rejects")):
        original = getattr(owner, name)

        def counting(*args: object, _name: str = name, _original: object = original) -> object:
            calls[_name] = calls.get(_name, 0) + 1
            return _original(*args)  # type: ignore[operator]

        patch.setattr(owner, name, counting)
    world.deploy("late", num_gpus=1)
    name, key = next((n, k) for n, m in world.machines.items() for k in m.running if "late" in str(k))
    world.say(name, key, ReplicaState.STARTING, progress="half")
    world.say(name, key, ReplicaState.READY)
    world.say(name, key, ReplicaState.FAILED, failures=3, reason="it broke")
    patch.undo()
    return calls


@pytest.mark.slow
def test_a_report_and_a_placement_cost_the_same_in_a_cluster_a_hundred_times_larger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = _counted(monkeypatch, deployments=30, workers=12)
    assert small["plan"] <= 8
    assert _counted(monkeypatch, deployments=1000, workers=300) == small
