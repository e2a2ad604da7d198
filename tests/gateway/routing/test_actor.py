"""What the gateway tells the rest of the cluster, and what it knows after a restart."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from tests.gateway.conftest import Engines
from tests.gateway.kit import PlayedCluster, replica, running_gateway, served
from tests.gateway.raw_engine import Call

from sllm_actors.actors import NodeId, RemoteFailure
from sllm_actors.engines.messages import ReplicaState
from sllm_actors.gateway import WorkerUp
from sllm_actors.serving.messages import (
    GATEWAY,
    WORKER,
    ReplicaStates,
    RoutingTable,
    Withdrawn,
    WorkerAddress,
)

pytestmark = pytest.mark.anyio

HERE = NodeId("gateway-1")
WORKERS = (WorkerAddress("worker-1", "10.0.0.1", 8002),)
LEAVING = replica(state=ReplicaState.DRAINING, withdrawal=3)


async def test_a_draining_replica_is_given_back_when_nothing_is_in_flight(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    asked, go_on = anyio.Event(), anyio.Event()

    async def wait(call: Call) -> None:
        asked.set()
        await go_on.wait()
        await call.answer(200, {"choices": []})

    worker = await cluster.system.probe(WORKER)
    await cluster.deploy(served())
    async with broken_engine() as engine, anyio.create_task_group() as tasks:
        engine.behave = wait
        await cluster.report(replica(address=engine.address), node=HERE)
        tasks.start_soon(lambda: cluster.http().post("/v1/embeddings", json={"model": "smol"}))
        await asked.wait()
        await cluster.report(LEAVING, node=HERE)
        await worker.expect_nothing()
        go_on.set()
        assert await worker.expect(Withdrawn) == Withdrawn("gateway-1", LEAVING.id, 3)
    await cluster.report(LEAVING, node=HERE)
    assert await worker.expect(Withdrawn) == Withdrawn("gateway-1", LEAVING.id, 3), (
        "told again: one may be lost"
    )


async def test_a_deleted_deployments_replicas_are_given_back_too(cluster: PlayedCluster) -> None:
    worker = await cluster.system.probe(WORKER)
    await cluster.deploy(served())
    await cluster.report(replica(), node=HERE)
    await cluster.deploy()
    await cluster.report(LEAVING, node=HERE)
    assert await worker.expect(Withdrawn) == Withdrawn("gateway-1", LEAVING.id, 3)
    await cluster.report(node=HERE)
    assert cluster.gateway.deployments() == ()


async def test_workers_are_dialled_when_they_change(cluster: PlayedCluster) -> None:
    assert cluster.dialled == [()]
    cluster.tell(RoutingTable((1, 1), (), WORKERS))
    cluster.tell(RoutingTable((1, 2), (served(),), WORKERS))
    cluster.tell(RoutingTable((1, 1)))
    await cluster.settle()
    assert cluster.dialled == [(), WORKERS]


async def test_a_gateway_that_starts_without_a_head_begins_with_the_last_table(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as before:
        before.tell(RoutingTable((1, 5), (served(),), WORKERS))
        with anyio.fail_after(5):
            while not before.settings.snapshot_path.exists():  # noqa: ASYNC110
                await anyio.sleep(0.01)
    async with running_gateway(tmp_path) as after:
        assert after.dialled == [WORKERS]
        assert [model.id async for model in after.client().models.list()] == ["smol"]
        after.tell(RoutingTable((1, 4)))
        await after.settle()
        assert after.gateway.deployments() == ("smol:llamacpp",)


async def test_a_spoilt_snapshot_does_not_keep_a_gateway_from_starting(tmp_path: Path) -> None:
    (tmp_path / "routing.json").write_text("{")
    async with running_gateway(tmp_path) as cluster:
        assert (await cluster.http().get("/health")).status_code == 200


async def test_a_gateway_actor_that_fails_comes_back_knowing_what_it_knew(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async with broken_engine() as engine:
        await cluster.deploy(served("smol", "vllm"))
        await cluster.report(replica("smol:vllm", address=engine.address))
        cluster.tell(ReplicaStates("worker-2", 1, None))  # type: ignore[arg-type]
        with anyio.fail_after(5):
            while cluster.system.statistics().restarts == 0:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        await anyio.sleep(0.5)
        answer = await cluster.http().post("/v1/chat/completions", json={"model": "smol"})
        assert answer.status_code == 200
        await cluster.deploy()
        assert cluster.gateway.deployments() == ()


async def test_a_message_that_it_does_not_know_is_an_answer_and_no_failure(cluster: PlayedCluster) -> None:
    with pytest.raises(RemoteFailure, match="takes no WorkerAddress"):
        await cluster.system.named(GATEWAY).ask(WORKERS[0], timeout=1)
    assert cluster.system.statistics().restarts == 0


async def test_an_old_report_is_not_believed_and_a_new_life_is(cluster: PlayedCluster) -> None:
    await cluster.deploy(served(hold_timeout=0.2))
    cluster.tell(ReplicaStates("worker-1", 100, (replica(state=ReplicaState.FAILED, reason="old"),)))
    cluster.tell(ReplicaStates("worker-1", 1, (replica(state=ReplicaState.STARTING),)))
    await cluster.settle()
    asked = {"model": "smol"}
    assert (await cluster.http().post("/v1/embeddings", json=asked)).status_code == 503
    cluster.tell(WorkerUp("worker-1"))
    cluster.tell(ReplicaStates("worker-1", 1, (replica(state=ReplicaState.STARTING),)))
    await cluster.settle()
    assert (await cluster.http().post("/v1/embeddings", json=asked)).status_code == 504
    assert cluster.system.whereis(GATEWAY) is not None
