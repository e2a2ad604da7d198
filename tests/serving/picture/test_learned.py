"""What was learned of the pauses between requests outlives the head, and is written rarely."""

from __future__ import annotations

from sllm_actors.serving.decisions.scaling import ScalingPolicy
from sllm_actors.serving.picture.events import DemandReported
from sllm_actors.serving.picture.planning.learned import KEEP_EVERY
from sllm_actors.serving.store.writes import PutPauses, StoreWrite

from .world import World

ID = "m:command"
LEARNS = {"min_instances": 0, "learn_keep_alive": True, "keep_alive": 7200}
LEARNING = ScalingPolicy(keep_alive=7200.0, learns=True)


def requests(world: World, count: int, pause: float) -> list[StoreWrite]:
    """Let requests come and go, with pauses between them; return what was written of pauses."""
    written: list[StoreWrite] = []
    apply = world.store.apply

    def noted(writes: list[StoreWrite]) -> None:
        written.extend(each for each in writes if isinstance(each, PutPauses))
        apply(writes)

    world.store.apply = noted  # type: ignore[method-assign]
    for _ in range(count):
        world.want(ID, in_flight=1)
        world.send(DemandReported("gateway"))
        world.want(ID)
        world.ready()
        world.wait(pause)
    world.store.apply = apply  # type: ignore[method-assign]
    return written


def test_what_was_learned_of_pauses_outlives_the_head() -> None:
    world = World()
    world.worker("a")
    known = world.deploy("m", auto_scaling_config=LEARNS)
    requests(world, 12, 700.0)
    assert known.scaler.pauses is not None
    learned = dict(known.scaler.pauses.bins)
    assert (sum(learned.values()), round(known.scaler.stay(LEARNING).keep)) == (11, 792)
    world.restart_head()
    again = world.picture.catalogue.by_id[ID]
    assert again is not known
    assert again.scaler.pauses is not None
    assert again.scaler.pauses.bins == learned
    assert round(again.scaler.stay(LEARNING).keep) == 792
    requests(world, 3, 700.0)
    assert sum(again.scaler.pauses.bins.values()) == 13, "the time while the head was away is no pause"


def test_short_pauses_are_written_once_in_a_while_and_the_last_ones_when_the_head_ends() -> None:
    world = World()
    world.worker("a")
    known = world.deploy("m", auto_scaling_config=LEARNS)
    written = requests(world, 31, 60.0)
    assert len(written) == 3, "one for the first pause, and one in each ten minutes"
    assert 60.0 * 30 // KEEP_EVERY == 3
    (last,) = world.picture.last_writes(world.now)
    assert world.picture.last_writes(world.now) == []
    world.store.apply([last])
    world.restart_head()
    pauses = world.picture.catalogue.by_id[ID].scaler.pauses
    assert pauses is not None
    assert sum(pauses.bins.values()) == 30
    assert known.scaler.pauses is not pauses


def test_what_was_learned_is_not_taken_where_nothing_is_learned_and_goes_with_its_deployment() -> None:
    world = World()
    world.worker("a")
    known = world.deploy("m", auto_scaling_config=LEARNS)
    requests(world, 3, 700.0)
    world.update(known, auto_scaling_config={**LEARNS, "learn_keep_alive": False})
    world.restart_head()
    assert world.picture.catalogue.by_id[ID].scaler.pauses is None
    assert known.uid in world.store.pauses
    world.delete(world.picture.catalogue.by_id[ID])
    assert world.store.pauses == {}
