"""A sentence says why a deployment is as it is, and what would change it."""

from __future__ import annotations

from typing import Any

from tests.serving.picture.world import WALL, World

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.decisions.swapping import RETURN
from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.store.records import JournalEntry
from sllm_actors.serving.views.answers import answer
from sllm_actors.serving.views.messages import DescribeDeployment, DescribeDeployments

from .kit import ask, described


def scaled(**more: Any) -> dict[str, Any]:
    scaling = {"min_instances": 0, "max_instances": 2, "target": 1, "keep_alive": 60}
    return {"num_gpus": 1, "auto_scaling_config": scaling} | more


def why(world: World, known: Deployment) -> str:
    return str(described(world, known)["detail"])


def use(world: World, known: Deployment) -> None:
    """Load it for a request, and answer that."""
    world.want(known.id, held=1, uses=1)
    world.ready()
    world.want(known.id, in_flight=1, uses=1)
    world.want(known.id)


def test_an_idle_deployment_says_what_starts_it_and_why_it_ended() -> None:
    world = World()
    world.worker("a")
    known = world.deploy("m", **scaled())
    assert why(world, known) == "its first request starts it"
    use(world, known)
    world.prompt = False
    (key,) = known.replicas
    world.wait(61)
    world.say("a", key, ReplicaState.DRAINING)
    assert why(world, known) == (
        "no request for 60 s: its next request starts it; 1 of its replicas is still ending"
    )
    world.obey("a")
    world.end("a")
    assert why(world, known) == "no request for 60 s: its next request starts it"


def test_one_that_made_room_says_for_whom_and_since_when() -> None:
    world = World()
    world.worker("a", gpus=1)
    first, second = world.deploy("m", **scaled()), world.deploy("n", **scaled())
    use(world, first)
    world.wait(5)
    world.want(second.id, held=1)
    gone = world.now
    world.wait(5)
    shown = described(world, first)
    reason = "n:command needed its room: its next request starts it"
    assert (shown["state"], shown["detail"], shown["since"]) == ("idle", reason, WALL + gone)
    world.want(first.id, held=1)
    assert why(world, first).startswith("no worker has 1 free GPU"), "a new wish ends what was said before"


def test_what_goes_as_its_last_request_ends_is_not_said_to_have_waited() -> None:
    world = World()
    world.worker("a", gpus=1)
    known = world.deploy("m", **scaled(auto_scaling_config={"min_instances": 0, "keep_alive": 0.2}))
    use(world, known)
    world.wait(0.3)
    assert why(world, known).startswith("no request is left: ")


def test_how_long_it_is_idle_and_keeps_its_replicas_is_shown() -> None:
    world = World()
    world.worker("a")
    known = world.deploy("m", **scaled(priority=3, pinned=True))
    use(world, known)
    ended = world.now
    world.wait(20)
    shown = described(world, known)
    assert (shown["idle_since"], shown["keep_alive_left"]) == (WALL + ended, 40.0)
    assert (shown["priority"], shown["pinned"], shown["held_since"]) == (3, True, None)
    world.want(known.id, held=1)
    shown = described(world, known)
    assert (shown["idle_since"], shown["keep_alive_left"]) == (None, None)
    assert shown["held_since"] == WALL + world.now
    forever = world.deploy("n", num_gpus=0)
    world.ready()
    assert described(world, forever)["keep_alive_left"] is None


def test_one_that_sleeps_says_how_deep_and_what_wakes_it() -> None:
    world = World()
    world.worker("a")
    known = world.deploy("m")
    (key,) = known.replicas
    world.say("a", key, ReplicaState.ASLEEP, level=2)
    shown = described(world, known)
    assert shown["detail"] == "it sleeps at level 2: the next request wakes it"
    assert (shown["ready_replicas"], shown["asleep_replicas"]) == (0, 1)


def test_what_ends_for_one_that_waits_is_named() -> None:
    world = World()
    world.worker("a", gpus=1)
    first, second = world.deploy("m", **scaled()), world.deploy("n", **scaled())
    use(world, first)
    world.wait(RETURN)
    world.prompt = False
    (key,) = first.replicas
    world.want(second.id, held=1)
    assert why(world, second) == f"a has room for it as soon as {key} has ended"


def test_one_that_waits_for_its_turn_says_what_it_lacks_and_when_that_may_be_free() -> None:
    world = World()
    world.worker("a", gpus=1)
    first, second = world.deploy("m", **scaled()), world.deploy("n", **scaled())
    large = world.deploy("large", **scaled(num_gpus=8))
    world.want(first.id, held=1, uses=1)
    world.ready()
    world.want(first.id, in_flight=1, uses=1)
    world.want(second.id, held=1)
    world.want(large.id, held=1)
    lacks = "no worker has 1 free GPU for it (a has 0 of 1 free: m:command has it)"
    sentence = why(world, second)
    assert sentence.startswith(f"{lacks}; one that is in use gives up its place in ")
    assert sentence.endswith(" s or later: it has its turn")
    never = "no worker has 8 free GPUs for it (a has only 1): start a worker with more, or change num_gpus"
    assert why(world, large) == never, "no turn will help it"
    listed = {each["id"]: each["detail"] for each in ask(world, DescribeDeployments())["deployments"]}
    assert listed[second.id] == lacks, "a list says what is found at once"


def test_one_deployment_is_shown_with_what_was_decided_last_and_a_list_without() -> None:
    world = World()
    known = world.deploy("m")
    entry = JournalEntry(1.5, known.id, "deployment.created", "m is deployed", 7)
    asked: list[str] = []

    def entries(name: str) -> list[JournalEntry]:
        asked.append(name)
        return [entry]

    said = answer(world.picture, DescribeDeployment(known.id), world.now, entries)
    assert '"events":[{"number":7,' in said.document  # type: ignore[union-attr]
    assert asked == [known.id]
    (listed,) = ask(world, DescribeDeployments())["deployments"]
    assert "events" not in listed
