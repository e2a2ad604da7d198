"""A replica without a place is waited for, for so long, and a person is told what is missing."""

from __future__ import annotations

from attrs import evolve
from tests.serving.kit import NODES, deployment, inventory, key, report, worker

from sllm_actors.serving.decisions.reconcile import Deployment, Worker
from sllm_actors.serving.decisions.waiting import (
    SHOWN_WORKERS,
    next_due,
    what_is_missing,
    why_overdue,
    with_waits,
)


def waiting(each: Deployment, now: float, *workers: Worker) -> Deployment:
    (known,) = with_waits({"m": each}, {"m"}, {w.node: w for w in workers}, {}, now).values()
    return known


def missing(each: Deployment, *others: Deployment, workers: list[Worker]) -> str:
    known = {one.spec.id: one for one in (each, *others)}
    return what_is_missing(each, known, {one.node: one for one in workers}, {})


def test_a_wait_is_overdue_after_the_start_up_timeout_and_counts_from_its_beginning() -> None:
    each = waiting(deployment(gpus=1, startup_timeout=60), 100.0, worker("w1"))
    assert (why_overdue(each), next_due({"m": each})) == ("", 160.0)
    each = waiting(each, 159.9, worker("w1"))
    assert (why_overdue(each), next_due({"m": each})) == ("", 160.0)
    each = waiting(each, 160.0, worker("w1"))
    assert why_overdue(each) == (
        "it found no place within 60 s: no worker has 1 free GPU for it (w1 has no GPU)"
    )
    assert next_due({"m": each}) is None


def test_a_place_ends_a_wait_and_the_next_one_begins_anew() -> None:
    each = waiting(deployment(gpus=1, startup_timeout=60), 0.0)
    placed = with_waits({"m": each}, (), {}, {}, 90.0)
    assert placed["m"].wait is None
    assert next_due(placed) is None
    assert next_due({"m": waiting(placed["m"], 100.0)}) == 160.0


def test_the_next_look_is_at_the_first_wait_that_will_be_overdue() -> None:
    first = waiting(deployment(gpus=1, startup_timeout=60), 5.0)
    late = waiting(deployment(gpus=1, startup_timeout=10), 50.0)
    over = waiting(waiting(deployment(gpus=1, startup_timeout=1), 0.0), 2.0)
    assert next_due({"a": first, "b": late, "c": over, "d": deployment()}) == 60.0


def test_what_each_worker_lacks_is_named() -> None:
    busy, two = deployment("a", gpus=1), deployment("b", gpus=2)
    workers = [worker("w1", report(key(0, "a")), gpus=2), worker("w2", gpus=1), worker("w3")]
    assert missing(two, busy, workers=workers) == (
        "no worker has 2 free GPUs for it (w1 has 1 of 2 free; w2 has only 1; w3 has no GPU)"
    )
    named = evolve(workers[0], inventory=inventory(2, name="big"))
    some = evolve(two, unfit={"w1": "", "w2": "it has no such file"})
    assert missing(some, busy, workers=[named, workers[1]]) == (
        "no worker has 2 free GPUs for it (big has 1 of 2 free; w2: it has no such file)"
    )


def test_refusals_questions_and_no_worker_at_all_are_told_apart() -> None:
    assert missing(deployment(), workers=[]).startswith("no worker is connected: start one with `sllm worker")
    asking = evolve(deployment(), unfit={"w1": "no such file"})
    assert missing(asking, workers=[worker("w1"), worker("w2")]) == (
        "workers are being asked whether they can run it"
    )
    refused = evolve(deployment(), unfit=dict.fromkeys(NODES, "no such file"))
    assert missing(refused, workers=[worker("w1"), worker("w2")]) == "w1: no such file; w2: no such file"
    named = evolve(deployment(), unfit={node: f"/m does not exist on worker {node}" for node in NODES})
    assert missing(named, workers=[worker("w1")]) == "/m does not exist on worker w1"


def test_a_reason_does_not_grow_with_the_cluster() -> None:
    nodes = [f"w{number:02}" for number in range(SHOWN_WORKERS + 3)]
    each = evolve(deployment(gpus=1), unfit=dict.fromkeys(nodes, ""))
    text = missing(each, workers=[worker(node) for node in nodes])
    assert text.endswith("; and 3 more workers)")
    assert nodes[SHOWN_WORKERS] not in text
