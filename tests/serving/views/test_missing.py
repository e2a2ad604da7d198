"""Why a deployment has no place: what workers lack, a few of them named."""

from __future__ import annotations

import pytest
from tests.serving.picture.world import World

from sllm_actors.engines.gpu_figures import GpuFigures
from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.serving.messages import Gpu, Inventory
from sllm_actors.serving.picture.events import NodeUp
from sllm_actors.serving.picture.missing import SHOWN_WORKERS, what_is_missing

from .kit import described

AT_A_REQUEST = "; idle replicas of others make room for it when a request comes, or by `sllm load`"


def why(world: World, **document: object) -> str:
    name = f"m{len(world.picture.catalogue.ids)}"
    known = world.deploy(name, **document)
    return str(described(world, known)["detail"])


def test_the_roomiest_workers_are_named_first_with_what_they_lack() -> None:
    world = World()
    for name, gpus in (("a", 0), ("b", 2), ("c", 8), ("d", 4)):
        world.worker(name, gpus=gpus)
    world.deploy("large", num_gpus=8)
    assert why(world, num_gpus=8) == (
        "no worker has 8 free GPUs for it "
        "(d has only 4; b has only 2; c has 0 of 8 free: large:command has it; a has no GPU)" + AT_A_REQUEST
    )


def test_what_no_worker_could_ever_have_is_told_with_what_helps() -> None:
    world = World()
    world.worker("a", gpus=1, memory_budget=4_000_000_000)
    more = "start a worker with more"
    assert why(world, num_gpus=2).endswith(f"(a has only 1): {more}, or change num_gpus")
    assert why(world, memory="5GB").endswith(f"(a has only 4.0 GB): {more}, or change memory")
    known = world.deploy("measured")
    (key,) = known.replicas
    mark = known.revisions[1].fingerprint
    known.peaks.learn(
        ReplicaReport(key.attempt(1), ReplicaState.READY, fingerprint=mark, memory=6 * 10**9), 0
    )
    sentence = what_is_missing(known, world.picture.fleet, {}, world.now)
    assert sentence == f"no worker has 6.0 GB of free memory for it (a has only 4.0 GB): {more}"


def test_an_estimate_is_told_with_what_it_is_made_of_and_what_goes_before_it() -> None:
    world = World()
    machine = world.worker("a", gpus=1)
    machine.inventory = Inventory(name="a", gpus=(Gpu("g", memory_total=8 * 10**9),))
    world.inventory("a")
    world.deploy("x", backend="vllm", gpu_memory="4GB")
    assert why(world, backend="vllm", gpu_memory="auto") == (
        "no worker has 1 free GPU for it (a has 0 of 1 free: x:vllm has it)"
        "; it takes whole GPUs until a worker has seen its model's files: gpu_memory, as 6G, sets less"
        + AT_A_REQUEST
    )
    known = world.picture.catalogue.by_id["m1:vllm"]
    world.picture.take_figures(known.spec, GpuFigures(2 * 10**9, 2**15, 4096), 0.0)
    made = "2.0 GB for weights + 2.3 GB beside them + 134 MB for each of 8 requests of 4096 tokens"
    assert described(world, known)["detail"] == (
        "no worker has 5.4 GB of free memory on a GPU for it"
        " (a has 4.0 GB free on the GPU with the most: x:vllm has it)"
        f"; 5.4 GB is an estimate ({made}): a gpu_memory that you give, as 6G, goes before it" + AT_A_REQUEST
    )


def test_what_is_larger_than_any_machine_waits_though_no_worker_has_a_budget() -> None:
    world = World()
    world.worker("a", gpus=0, memory_total=64 * 10**9)
    world.worker("b", gpus=1, memory_total=32 * 10**9, memory_budget=40 * 10**9)
    assert why(world, memory="80GB") == (
        "no worker has 80.0 GB of free memory for it (b has only 32.0 GB; a has only 64.0 GB):"
        " start a worker with more, or change memory"
    )
    world.deploy("n", memory="36GB")
    assert world.where("n:command") == {"a": 1}, "only that one is large enough"
    world.worker("c", gpus=0, memory_total=128 * 10**9)
    assert world.where("m0:command") == {"c": 1}, "it goes to a machine that comes later"


def test_those_that_keep_their_room_are_told_with_why() -> None:
    world = World()
    world.worker("a", gpus=2, slots=3)
    world.deploy("x", pinned=True, num_gpus=1)
    world.deploy("y", num_gpus=1, auto_scaling_config={"min_instances": 1})
    world.deploy("z", num_gpus=0)
    assert why(world, num_gpus=1) == (
        "no worker has 1 free GPU for it "
        "(a has 0 of 2 free: x:command (pinned) and y:command (min_instances) have them)"
    )


@pytest.mark.parametrize(("more", "end"), [(1, "; and 1 more worker)"), (5, "; and 5 more workers)")])
def test_of_many_workers_a_few_are_named_and_the_others_counted(more: int, end: str) -> None:
    world = World()
    for number in range(SHOWN_WORKERS + more):
        world.worker(f"w{number:02}", gpus=1)
    sentence = why(world, num_gpus=2)
    assert sentence.endswith(end)
    assert sentence.count("has only 1") == SHOWN_WORKERS


def test_workers_that_refuse_say_why_and_nothing_is_said_of_gpus() -> None:
    world = World()
    for name, refusal in (("a", "there is no model file"), ("b", "worker b has no engine for it")):
        world.worker(name).refuses["m0:command"] = refusal
    assert why(world) == "a: there is no model file; worker b has no engine for it"


def test_workers_that_take_nothing_now_are_named_where_no_other_is_left() -> None:
    world = World()
    world.worker("draining", gpus=4)
    world.drain("draining")
    world.worker("lost")
    world.unlink("lost")
    world.worker("gone")
    world.unlink("gone")
    world.send(NodeUp("new", "worker", "10.0.0.1", world.machines["lost"].incarnation))
    world.send(NodeUp("gateway", "gateway", "10.0.0.1", world.machines["lost"].incarnation))
    assert why(world, num_gpus=1) == (
        "draining is being drained; the link with gone is lost: it is silent; "
        "the link with lost is lost: it is silent; new has not said yet what it has"
    )
    world.wait(11.0)
    world.worker("small", gpus=0)
    assert why(world, num_gpus=1).startswith("no worker has 1 free GPU for it (small has no GPU; draining is")


def test_a_worker_that_has_room_by_now_is_about_to_get_it() -> None:
    world = World()
    known = world.deploy("m", num_gpus=1)
    waits = known.wait
    world.worker("w1", gpus=1)
    known.replicas.clear()
    world.picture.fleet.empty(world.picture.fleet.nodes["w1"])
    known.wait = waits
    assert described(world, known)["detail"] == "w1 is about to get it"


def test_a_worker_without_a_free_slot_is_named_with_those_that_have_them() -> None:
    world = World()
    world.worker("a", gpus=0, slots=2)
    world.deploy("x")
    world.deploy("y")
    assert why(world) == (
        "no worker has a free slot for it (a has 0 of 2 slots free: x:command and y:command have them)"
        + AT_A_REQUEST
    )
    world.worker("b", gpus=0, slots=1)
    world.worker("c", gpus=0)
    world.drain("c")
    lacks = why(world)
    assert "(b has 0 of 1 slots free: m2:command has it; a has 0 of 2" in lacks
    assert lacks.endswith("; c is being drained)" + AT_A_REQUEST)


def test_of_many_deployments_that_have_the_slots_three_are_named() -> None:
    world = World()
    world.worker("a", gpus=0, slots=5)
    for number in range(5):
        world.deploy(f"x{number}")
    assert why(world).endswith(
        "(a has 0 of 5 slots free: x0:command, x1:command, x2:command and 2 more have them)" + AT_A_REQUEST
    )


def test_where_workers_lack_different_things_all_that_it_takes_is_named() -> None:
    world = World()
    world.worker("a", gpus=1, slots=1)
    world.worker("b", gpus=0)
    world.deploy("x", num_gpus=0)
    assert world.where("x:command") == {"b": 1}
    world.deploy("y", num_gpus=0)
    world.worker("c", gpus=1, slots=1)
    world.drain("b")
    for name in ("z", "u"):
        world.deploy(name, num_gpus=0)
    world.worker("d", gpus=0, slots=1)
    assert why(world, num_gpus=1).startswith("no worker has 1 free GPU and a slot for it (")


def test_a_worker_without_enough_memory_says_how_much_it_has_and_who_has_it() -> None:
    world = World()
    world.worker("a", gpus=0, memory_budget=4_000_000_000)
    world.worker("b", gpus=0, memory_budget=1_000_000_000)
    world.deploy("x", memory="2.9GB")
    lacks = "a has 1.1 GB of 4.0 GB free: x:command has it; b has only 1.0 GB"
    assert why(world, memory="2GB") == f"no worker has 2.0 GB of free memory for it ({lacks}){AT_A_REQUEST}"
    world.worker("c", gpus=1, memory_budget=1)
    assert why(world, memory="3GB", num_gpus=1).startswith(
        "no worker has 1 free GPU, 3.0 GB of memory and a slot for it (c has only 1 B; a has no GPU"
    )


def test_a_label_that_no_worker_has_is_named() -> None:
    world = World()
    world.worker("a", gpus=0, labels={"zone": "a"})
    world.worker("b", gpus=0, labels={"disk": "fast"})
    assert why(world, node_selector={"zone": "x"}) == (
        "no worker has the label zone=x: start one with `--label zone=x`, or change node_selector"
    )
    both = {"zone": "a", "disk": "fast"}
    assert why(world, node_selector=both) == "no worker that takes replicas now has zone=a and disk=fast"
    assert why(world, node_selector={"zone": "a"}, num_gpus=1) == (
        "no worker has 1 free GPU for it (a has no GPU): start a worker with more, or change num_gpus"
    )


def test_a_gpu_without_enough_free_memory_is_told_with_what_it_has() -> None:
    world = World()
    world.worker("a", gpus=1).inventory = Inventory(name="a", gpus=(Gpu("g", memory_total=8_000_000_000),))
    world.inventory("a")
    world.worker("b", gpus=0)
    world.deploy("x", num_gpus=1, gpu_memory="6GB")
    assert why(world, num_gpus=1, gpu_memory="3GB") == (
        "no worker has 3.0 GB of free memory on a GPU for it "
        "(a has 2.0 GB free on the GPU with the most: x:command has it; b has no GPU)" + AT_A_REQUEST
    )
    assert why(world, num_gpus=2, gpu_memory="30GB") == (
        "no worker has 30.0 GB of free memory on 2 GPUs for it (a has only 8.0 GB on a GPU; b has no GPU)"
        ": start a worker with more, or change gpu_memory"
    )
