"""The head: what it answers, what it orders, and what it does not do before it knows enough."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from sllm_actors.engines.messages import InspectSource, ReplicaState, SourceInspected
from sllm_actors.serving.deployment.document import MAX_DOCUMENT
from sllm_actors.serving.messages import (
    CONTROLLER,
    DeleteDeployment,
    Deploy,
    Describe,
    WorkerAddress,
    WorkerReport,
)

from .head import SETTLE_TIME, running_head
from .kit import inventory, key, report, spec, until

pytestmark = pytest.mark.anyio

M = "m:llamacpp"


# ---- deploying


async def test_a_deployment_is_kept_and_ordered_from_a_worker(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        outcome, answer = await head.deploy(spec())
        assert (outcome, answer["deployment_id"], answer["created"]) == ("done", M, True)
        assert (answer["revision"], answer["warnings"]) == (1, [])
        assert head.orders("w1") == [key(0)]
        assert [each.next_number for each in (await head.stored())] == [1]


async def test_the_same_deployment_again_is_no_mistake(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.deploy(spec())
        outcome, answer = await head.deploy(spec())
        assert (outcome, answer["created"], answer["revision"]) == ("done", False, 1)


async def test_other_settings_are_a_conflict(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.deploy(spec())
        outcome, answer = await head.deploy(spec(gpus=1))
        assert (outcome, answer["code"]) == ("conflict", "deployment_exists")
        assert answer["message"].startswith(f"{M} is deployed with other settings: num_gpus differs; ")


@pytest.mark.parametrize(
    ("document", "outcome", "code", "param"),
    [
        ("{", "invalid", "invalid_deployment", None),
        ('{"modell": "x"}', "invalid", "invalid_deployment", "modell"),
        ('"' + "x" * MAX_DOCUMENT + '"', "too_large", "too_large", None),
        ('"' + "é" * (MAX_DOCUMENT // 2) + '"', "too_large", "too_large", None),
    ],
)
async def test_a_document_that_means_nothing_is_refused(
    tmp_path: Path, document: str, outcome: str, code: str, param: str | None
) -> None:
    async with running_head(tmp_path) as head:
        found, answer = await head.ask(Deploy(document))
        assert (found, answer["code"], answer["param"]) == (outcome, code, param)
        assert (await head.stored()) == []


async def test_warnings_reach_the_author(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        _, answer = await head.ask(Deploy('{"model": "m", "router_config": {}}'))
        assert answer["warnings"] == ["router_config has no effect: live migration is not done"]


async def test_what_every_worker_refuses_is_refused(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        await head.join("w2")
        head.problems = {"w1": "there is no file /x", "w2": "there is no backend"}
        outcome, answer = await head.deploy(spec())
        reasons = "there is no backend; there is no file /x"
        assert (outcome, answer["message"], answer["param"]) == ("invalid", reasons, "source")
        assert (await head.stored()) == []


async def test_what_one_worker_refuses_goes_to_another(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        await head.join("w2")
        head.problems = {"w1": "there is no file /x"}
        assert (await head.deploy(spec()))[0] == "done"
        assert head.orders("w1") == []
        assert head.orders("w2") == [key(0)]


async def test_a_worker_that_does_not_answer_is_asked_again_and_gets_nothing_until_then(
    tmp_path: Path,
) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        await head.join("w2")
        head.problems = {"w1": "there is no file /x"}
        head.silent = {"w2"}
        async with anyio.create_task_group() as tasks:
            answers: list[tuple[str, object]] = []

            async def deploy() -> None:
                answers.append(await head.deploy(spec()))

            tasks.start_soon(deploy)
            await until(lambda: head.network.open)
            await head.clock.advance(5.0)
        assert answers[0][0] == "done"  # one refused, but not all have spoken
        assert head.orders("w2") == []
        described = await head.describe(M)
        assert described["detail"] == "workers are being asked whether they can run it"
        head.silent = set()
        await head.advance(5.0)  # the second question times out too
        await head.advance(1.0)
        assert head.orders("w2") == [key(0)]


async def test_a_deployment_without_any_worker_waits_for_one(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        assert (await head.deploy(spec()))[0] == "done"
        assert "no worker is connected" in (await head.describe(M))["detail"]
        await head.join("w1")
        assert head.orders("w1") == [key(0)]


async def test_two_who_deploy_the_same_at_once_do_not_both_create_it(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        head.silent = {"w1"}
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(head.ask, Deploy('{"model": "m", "backend": "llamacpp"}'))
            await until(lambda: head.network.open)
            outcome, answer = await head.ask(Deploy('{"model": "m", "backend": "llamacpp"}'))
            assert (outcome, answer["code"]) == ("conflict", "deployment_exists")
            # Nor can it be deleted before it is there: it would come up after its deletion.
            outcome, answer = await head.delete(M)
            assert (outcome, answer["code"]) == ("conflict", "deployment_exists")
            await head.clock.advance(5.0)
        assert len(await head.stored()) == 1


# ---- deleting


async def test_a_deletion_ends_when_nothing_runs_any_more_and_revisions_go_on(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        await head.deploy(spec())
        await head.report("w1", report(key(0)))
        outcome, answer = await head.delete(M)
        assert (outcome, answer["status"]) == ("pending", "deleting")
        assert (await head.delete(M))[0] == "pending"
        assert head.orders("w1") == []
        outcome, answer = await head.deploy(spec())
        assert (outcome, answer["code"]) == ("conflict", "deployment_deleting")
        await head.report("w1", report(key(0), ReplicaState.DRAINING))
        assert (await head.describe(M))["state"] == "deleting"
        await head.report("w1")
        assert (await head.ask(Describe(M)))[0] == "unknown"
        assert (await head.deploy(spec()))[1]["revision"] == 2
        assert head.orders("w1") == [key(0, revision=2)]


async def test_what_is_not_there_cannot_be_deleted_or_described(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        for request in (Describe("x:vllm"), DeleteDeployment("x:vllm")):
            outcome, answer = await head.ask(request)
            assert (outcome, answer["code"]) == (
                "unknown",
                "deployment_not_found",
            )


async def test_a_deployment_that_is_deleted_while_a_worker_is_asked_stays_deleted(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.deploy(spec())
        head.silent = {"w1"}
        await head.join("w1")
        assert head.network.open
        await head.delete(M)
        await head.rest()
        assert (await head.stored()) == []
        async with anyio.create_task_group() as tasks:  # the next revision: not asked about yet
            tasks.start_soon(head.deploy, spec(settings={"n_ctx": 1}))
            await until(lambda: len(head.network.open) == 2)
            await head.clock.advance(5.0)
        head.silent = set()
        await head.advance(1.0)
        assert head.orders("w1") == [key(0, revision=2)]
        questions = [asked for _, asked in head.network.asked if isinstance(asked, InspectSource)]
        assert questions[-1].settings == {"n_ctx": 1}


# ---- a head that knows nothing yet


async def test_a_restarted_head_stops_nothing_before_its_workers_have_reported(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        await head.join("w2")
        await head.deploy(spec(replicas=2))
    async with running_head(tmp_path, epoch=2) as head:
        await head.up("g1", role="gateway")
        await head.join("w1", report(key(0)))
        assert head.orders("w1") is None
        assert head.table("g1") is None
        await head.join("w2", report(key(1)))
        assert head.orders("w1") == [key(0)]
        assert head.orders("w2") == [key(1)]
        table = head.table("g1")
        assert table is not None
        assert table.epoch == (2, 1)


async def test_a_worker_that_does_not_come_back_is_waited_for_no_longer_than_that(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        await head.join("w2")
        await head.deploy(spec(replicas=2))
    async with running_head(tmp_path, epoch=2) as head:
        await head.join("w1", report(key(0)))
        await head.advance(SETTLE_TIME - 0.1)
        assert head.orders("w1") is None
        await head.advance(0.1)
        assert head.orders("w1") == [key(0), key(2)]
        assert (await head.known_workers()) == {"w1"}
        # It is late: its replica is adopted, and the one that took its place goes.
        await head.report("w1", report(key(0)), report(key(2), ReplicaState.STARTING))
        await head.join("w2", report(key(1)))
        assert head.orders("w1") == [key(0)]
        assert head.orders("w2") == [key(1)]


async def test_a_worker_that_is_linked_but_slow_to_report_is_not_forgotten(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
    async with running_head(tmp_path, epoch=2) as head:
        await head.up("w1")
        await head.advance(SETTLE_TIME)
        assert (await head.known_workers()) == {"w1"}


async def test_requests_are_answered_while_the_head_waits(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        await head.join("w2")
        await head.deploy(spec("old"))
    async with running_head(tmp_path, epoch=2) as head:
        await head.join("w1")
        head.problems = {"w1": "there is no file /x"}
        assert (await head.deploy(spec("new")))[0] == "done"  # w2 may have it
        assert (await head.delete("old:llamacpp"))[0] == "pending"
        assert (await head.describe("old:llamacpp"))["state"] == "deleting"
        assert head.orders("w1") is None


async def test_a_controller_that_crashes_goes_on_from_the_store_and_the_links(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        await head.up("g1", role="gateway")
        await head.deploy(spec())
        before = head.table("g1")
        assert before is not None
        head.forget_told()
        controller = head.system.whereis(CONTROLLER)
        assert controller is not None
        controller.tell(WorkerReport("w1", None, inventory()))  # type: ignore[arg-type]  # a bug
        await until(lambda: head.system.whereis(CONTROLLER) not in (None, controller))
        assert (await head.describe(M))["id"] == M
        assert head.orders("w1") is None
        await head.report("w1", report(key(0)))
        assert head.orders("w1") == [key(0)]
        after = head.table("g1")
        assert after is not None
        assert after.epoch > before.epoch


# ---- messages that are lost, late or out of order


async def test_an_order_that_was_lost_is_given_again(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        head.network.lost = {"w1"}
        await head.up("w0")
        head.network.lost = set()
        await head.deploy(spec())
        count = head.order_count("w1")
        await head.report("w1")  # it runs nothing
        assert head.order_count("w1") == count + 1
        await head.report("w1", report(key(0), ReplicaState.STARTING))
        await head.report("w1", report(key(0)))
        assert head.order_count("w1") == count + 1


async def test_a_late_report_of_the_life_before_changes_nothing(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        await head.deploy(spec())
        await head.report("w1", report(key(0)), sequence=50)
        await head.report("w1", sequence=49)
        assert (await head.describe(M))["ready_replicas"] == 1
        await head.lose("w1")
        await head.report("w1", report(key(0)), sequence=51)
        assert (await head.describe(M))["instances"] == []


async def test_a_second_word_of_the_same_link_forgets_nothing(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        await head.deploy(spec())
        await head.report("w1", report(key(0)))
        await head.up("w1")
        assert (await head.describe(M))["ready_replicas"] == 1


async def test_the_loss_of_an_old_life_after_the_new_one_came_changes_nothing(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        old = head.peers["w1"]
        await head.join("w1", life=2)
        await head.deploy(spec())
        new, head.peers["w1"] = head.peers["w1"], old
        await head.lose("w1")
        head.peers["w1"] = new
        await head.report("w1", report(key(0)))
        assert (await head.describe(M))["ready_replicas"] == 1


async def test_replicas_of_a_lost_worker_are_placed_elsewhere_at_once(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        await head.join("w2")
        await head.deploy(spec())
        await head.report("w1", report(key(0)))
        await head.lose("w1")
        assert head.orders("w2") == [key(1)]


async def test_a_worker_that_comes_back_is_asked_again_what_it_can_run(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        await head.deploy(spec())
        await head.lose("w1")
        head.problems = {"w1": "there is no file /m.gguf"}
        head.forget_told()
        await head.join("w1", life=2)
        assert head.orders("w1") == []
        assert (await head.describe(M))["detail"] == "w1: there is no file /m.gguf"
        head.problems = {}
        await head.join("w1", life=3)
        assert head.orders("w1") == [key(1)]


async def test_what_a_worker_said_in_its_last_life_does_not_count_in_the_next(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.deploy(spec())
        head.silent = {"w1"}
        await head.join("w1")
        (question,) = list(head.network.open)
        head.problems, head.silent = {"w1": "there is no file /m.gguf"}, set()
        await head.join("w1", life=2)
        question[1](SourceInspected(""))
        await head.rest()
        assert head.orders("w1") == []


# ---- gateways


async def test_gateways_are_told_what_exists_under_rising_epochs(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.up("g1", role="gateway")
        await head.join("w1")
        await head.deploy(spec())
        tables = head.network.told["g1"]
        assert [table.epoch for table in tables] == sorted({table.epoch for table in tables})
        last = head.table("g1")
        assert last is not None
        assert [model.id for model in last.models] == [M]
        assert last.workers == (WorkerAddress("w1", "w1.lan", 8002),)
        await head.lose("w1")
        assert head.table("g1") == last  # gateways may still reach it
        await head.up("g2", role="gateway")
        assert head.table("g2") == last
        await head.delete(M)
        last = head.table("g2")
        assert last is not None
        assert last.models == ()


async def test_a_table_that_was_lost_is_sent_again(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.up("g1", role="gateway")
        head.network.lost = {"g1"}
        await head.deploy(spec())
        head.network.lost = set()
        head.forget_told()
        await head.advance(5.0)
        table = head.table("g1")
        assert table is not None
        assert [model.id for model in table.models] == [M]


# ---- a store that fails


async def break_store(path: Path, *, broken: bool) -> None:
    def rename() -> None:
        with sqlite3.connect(path / "state.db") as database:
            names = ("deployments", "elsewhere") if broken else ("elsewhere", "deployments")
            database.execute(f"ALTER TABLE {names[0]} RENAME TO {names[1]}")
        database.close()

    await anyio.to_thread.run_sync(rename)


async def test_what_cannot_be_kept_is_not_done_and_is_tried_again(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        await break_store(tmp_path, broken=True)
        outcome, answer = await head.deploy(spec())
        assert (outcome, answer["code"]) == ("unavailable", "store_unavailable")
        await break_store(tmp_path, broken=False)
        assert (await head.deploy(spec()))[0] == "done"
        await break_store(tmp_path, broken=True)
        assert (await head.delete(M))[0] == "unavailable"
        await head.lose("w1")
        await head.join("w1", life=2)
        assert head.orders("w1") == []  # a number that is not on disk is not given out
        await break_store(tmp_path, broken=False)
        await head.advance(5.0)
        assert head.orders("w1") == [key(1)]


async def test_a_deletion_whose_end_could_not_be_kept_ends_later(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        await head.deploy(spec())
        await head.report("w1", report(key(0)))
        await head.delete(M)
        await break_store(tmp_path, broken=True)
        await head.report("w1")
        assert (await head.describe(M))["state"] == "deleting"
        await break_store(tmp_path, broken=False)
        await head.lose("w1")  # nobody reports any more
        await head.advance(5.0)
        assert (await head.stored()) == []


# ---- what is shown


async def test_the_cluster_is_described(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.up("g1", role="gateway")
        await head.join("w1", gpus=2)
        await head.deploy(spec(gpus=1))
        document = await head.describe()
        assert [each["id"] for each in document["deployments"]] == [M]
        assert [(each["id"], each["role"], each["gpus_free"]) for each in document["nodes"]] == [
            ("g1", "gateway", None),
            ("w1", "worker", 1),
        ]
        await head.lose("w1")
        lost = (await head.describe())["nodes"][1]
        assert (lost["state"], lost["reason"]) == ("down", "silent")


async def test_reports_of_nodes_that_are_not_linked_are_ignored(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        stray = WorkerReport("stray", 1, inventory(), (report(key(0)),))
        head.system.named(CONTROLLER).tell(stray)
        assert (await head.describe())["nodes"] == []
