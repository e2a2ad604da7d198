"""What the gateway tells the rest of the cluster, and what it knows whoever restarts and whatever is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs
from tests.gateway.conftest import Engines
from tests.gateway.kit import PlayedCluster, replica, running_gateway, served
from tests.gateway.played_nodes import PlayedNodes
from tests.gateway.raw_engine import Call

from sllm_actors.actors import RemoteFailure
from sllm_actors.engines.messages import ReplicaState
from sllm_actors.gateway.routing.memory.snapshot_file import SnapshotFile
from sllm_actors.gateway.routing.router import router_name
from sllm_actors.serving.messages import GATEWAY, GatewayNamed, Withdrawn, WorkerAddress
from sllm_actors.serving.streams import ReplicasDifference, RoutesDifference, RoutesPage
from sllm_actors.transport import PeerUp

pytestmark = pytest.mark.anyio

WORKERS = (WorkerAddress("worker-1", "10.0.0.1", 8002),)
LEAVING = replica(state=ReplicaState.DRAINING, withdrawal=3)
GIVEN_BACK = ("worker-1", Withdrawn("gateway-1", LEAVING.id, 3))


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(60):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.01)


def ready(cluster: PlayedCluster, deployment: str = "smol:llamacpp") -> list[tuple[str, int]]:
    """Return the worker and the number of each replica that gets requests."""
    route = cluster.gateway.board.routes.get(deployment)
    return [] if route is None else [(each.node, each.id.number) for each in route.ready]


async def crash(cluster: PlayedCluster) -> None:
    """Let the gateway's actor fail, and wait until it is back."""
    restarts = cluster.system.statistics().restarts
    cluster.tell(PeerUp(None))  # type: ignore[arg-type]  # a bug
    await until(lambda: cluster.system.statistics().restarts > restarts)
    await until(lambda: cluster.system.whereis(GATEWAY))
    await cluster.settle()


# ---- replicas that leave


async def test_a_draining_replica_is_given_back_when_nothing_is_in_flight(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    asked, go_on = anyio.Event(), anyio.Event()

    async def wait(call: Call) -> None:
        asked.set()
        await go_on.wait()
        await call.answer(200, {"choices": []})

    await cluster.deploy(served())
    async with broken_engine() as engine, anyio.create_task_group() as tasks:
        engine.behave = wait
        await cluster.report(replica(address=engine.address))
        tasks.start_soon(lambda: cluster.http().post("/v1/embeddings", json={"model": "smol"}))
        await asked.wait()
        await cluster.report(LEAVING)
        await anyio.wait_all_tasks_blocked()
        assert cluster.nodes.heard == []
        go_on.set()
    await until(lambda: cluster.nodes.heard)
    assert cluster.nodes.heard == [GIVEN_BACK]


async def test_what_a_worker_has_heard_is_not_told_again(cluster: PlayedCluster) -> None:
    await cluster.deploy(served())
    await cluster.report(LEAVING)
    await until(lambda: cluster.nodes.heard)
    for _ in range(3):
        cluster.nodes.beat()
    await cluster.report(LEAVING, replica(number=2))
    await anyio.wait_all_tasks_blocked()
    assert cluster.nodes.heard == [GIVEN_BACK]


@pytest.mark.slow
async def test_a_withdrawal_whose_word_was_lost_is_told_again(cluster: PlayedCluster) -> None:
    lost: list[Any] = []

    def lose_two(message: Any) -> bool:
        if isinstance(message, Withdrawn) and len(lost) < 2:
            lost.append(message)
            return True
        return False

    cluster.nodes.loses = lose_two
    await cluster.deploy(served())
    await cluster.report(LEAVING)
    await until(lambda: cluster.nodes.heard)
    assert cluster.nodes.heard == [GIVEN_BACK]


async def test_a_worker_that_has_begun_anew_is_told_again(cluster: PlayedCluster) -> None:
    await cluster.deploy(served())
    await cluster.report(LEAVING)
    await until(lambda: cluster.nodes.heard == [GIVEN_BACK])
    cluster.nodes.begin_worker("worker-1")
    await cluster.report(LEAVING)
    await until(lambda: cluster.nodes.heard == [GIVEN_BACK] * 2)
    await cluster.lose("worker-1")
    await cluster.report(LEAVING)
    await until(lambda: cluster.nodes.heard == [GIVEN_BACK] * 3)


async def test_a_gateways_actor_that_has_begun_anew_gives_back_what_leaves(cluster: PlayedCluster) -> None:
    await cluster.deploy(served())
    await cluster.report(LEAVING)
    await until(lambda: cluster.nodes.heard == [GIVEN_BACK])
    await crash(cluster)
    await until(lambda: len(cluster.nodes.heard) > 1)


async def test_replicas_of_what_is_deleted_or_was_never_known_are_given_back_too(
    cluster: PlayedCluster,
) -> None:
    await cluster.deploy(served())
    await cluster.report(replica())
    await cluster.deploy()
    assert cluster.gateway.deployments() == ()
    await cluster.report(LEAVING)
    await until(lambda: cluster.nodes.heard == [GIVEN_BACK])
    stranger = replica("other:vllm", ReplicaState.DRAINING, uid="gone", withdrawal=9)
    await cluster.report(stranger, node="worker-2")
    await until(lambda: cluster.nodes.heard[1:])
    assert cluster.nodes.heard[1:] == [("worker-2", Withdrawn("gateway-1", stranger.id, 9))]
    await cluster.report()
    await cluster.report(node="worker-2")
    for deployment in ("smol:llamacpp", "other:vllm"):
        assert cluster.system.whereis(router_name(deployment)) is None, "nothing is left to do for it"


async def test_a_replica_of_another_uid_or_revision_gets_nothing(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async with broken_engine() as old, broken_engine() as new:
        await cluster.deploy(served(uid="u1", revisions=(2,)))
        await cluster.report(
            replica(address=old.address, uid="u0", revision=2),
            replica(address=old.address, uid="u1", revision=1),
            replica(address=new.address, uid="u1", revision=2),
        )
        for _ in range(8):
            assert (await cluster.http().post("/v1/embeddings", json={"model": "smol"})).status_code == 200
        assert (len(old.calls), len(new.calls)) == (0, 8)
        await cluster.deploy(served(uid="u1", revisions=(1, 2)))
        assert len(ready(cluster)) == 2, "a revision that comes into the table takes part at once"


# ---- the head


async def test_workers_are_dialled_when_they_change(cluster: PlayedCluster) -> None:
    assert cluster.dialled == [()]
    await cluster.deploy(served())
    cluster.nodes.head.locate(WORKERS)
    await cluster.settle()
    assert cluster.dialled == [(), WORKERS]
    cluster.nodes.head.locate(())
    await cluster.settle()
    assert cluster.dialled == [(), WORKERS, ()]


async def test_a_restarted_head_with_other_deployments_replaces_them(cluster: PlayedCluster) -> None:
    await cluster.deploy(served("a"), served("b"))
    cluster.nodes.head.locate(WORKERS)
    await cluster.settle()
    await cluster.lose("head")
    assert cluster.gateway.deployments() == ("a:llamacpp", "b:llamacpp"), "without a head all goes on"
    cluster.nodes.begin_head()
    await cluster.deploy(served("b", hold_limit=7), served("c"))
    assert cluster.gateway.deployments() == ("b:llamacpp", "c:llamacpp")
    route = cluster.gateway.board.routes["b:llamacpp"]
    assert route.served == served("b", hold_limit=7)
    assert cluster.dialled == [(), WORKERS, ()]


async def test_each_head_is_told_what_people_call_the_gateway(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, name="gateway-0@rack-1") as cluster:
        await cluster.deploy()
        await cluster.lose("head")
        cluster.nodes.begin_head("head-2")
        cluster.nodes.link("head-2", "head")
        await cluster.settle()
        said = [(node, each) for node, each in cluster.nodes.heard if isinstance(each, GatewayNamed)]
        mine = GatewayNamed("gateway-1", "gateway-0@rack-1")
        assert said == [("head", mine), ("head-2", mine)]


async def test_a_head_of_another_id_is_followed_and_the_former_one_no_longer(cluster: PlayedCluster) -> None:
    await cluster.deploy(served("a"))
    old = cluster.nodes.head
    cluster.nodes.begin_head("head-2")
    cluster.nodes.head.serve([served("b")])
    cluster.nodes.link("head-2", "head")
    await cluster.settle()
    assert cluster.gateway.deployments() == ("b:llamacpp",)
    old.serve([served("c")])
    cluster.nodes.beat()
    await cluster.settle()
    await cluster.lose("head")
    assert cluster.gateway.deployments() == ("b:llamacpp",)


async def test_a_lost_difference_is_noticed_by_the_next_beat(cluster: PlayedCluster) -> None:
    await cluster.deploy(served("a"))
    await cluster.report(replica("a:llamacpp"))
    cluster.nodes.loses = lambda message: isinstance(message, RoutesDifference | ReplicasDifference)
    await cluster.deploy(served("b"))
    await cluster.report(replica("b:llamacpp"))
    assert cluster.gateway.deployments() == ("a:llamacpp",)
    cluster.nodes.loses = lambda _: False
    cluster.nodes.beat()
    await cluster.settle()
    assert cluster.gateway.deployments() == ("b:llamacpp",)
    assert ready(cluster, "b:llamacpp") == [("worker-1", 1)]


async def test_a_publisher_that_sends_nonsense_is_refused_and_changes_nothing(cluster: PlayedCluster) -> None:
    await cluster.deploy(served("a"))
    nonsense = RoutesPage("head", 7, 1, None, (served("z"), served("b")))
    await cluster.lose("head")
    cluster.nodes.loses = lambda message: getattr(message, "node", "") == "head"
    cluster.nodes.link("head", "head")
    with capture_logs() as logs:
        cluster.tell(nonsense)
        await cluster.settle()
    (warning,) = [each for each in logs if each["event"] == "stream.refused"]
    assert warning["publisher"] == "the head"
    assert "not in the order of its keys" in warning["reason"]
    assert cluster.gateway.deployments() == ("a:llamacpp",)


# ---- workers


async def test_a_worker_that_is_lost_and_back_with_other_replicas_has_those(cluster: PlayedCluster) -> None:
    await cluster.deploy(served())
    await cluster.report(replica(), replica(number=2))
    await cluster.lose("worker-1")
    assert ready(cluster) == []
    cluster.nodes.begin_worker("worker-1")
    await cluster.report(replica(number=2), replica(number=3))
    assert ready(cluster) == [("worker-1", 2), ("worker-1", 3)]


async def test_a_worker_that_came_back_before_its_loss_was_heard_keeps_its_replicas(
    cluster: PlayedCluster,
) -> None:
    await cluster.deploy(served())
    await cluster.report(replica())
    lost = cluster.nodes.lose("worker-1", heard=False)
    await cluster.report(replica(), replica(number=2))
    cluster.tell(lost)
    await cluster.settle()
    assert ready(cluster) == [("worker-1", 1), ("worker-1", 2)]


@pytest.mark.slow
async def test_a_worker_whose_connection_was_closed_gets_requests_again_when_it_is_back(
    cluster: PlayedCluster,
) -> None:
    await cluster.deploy(served())
    await cluster.report(replica())
    await cluster.report(replica(number=2), node="worker-2")
    for heard in (True, False):
        cluster.nodes.doubt("worker-1")
        await cluster.settle()
        assert ready(cluster) == [("worker-2", 2)]
        cluster.nodes.trust("worker-1", heard=heard)
        await until(lambda: ready(cluster) == [("worker-1", 1), ("worker-2", 2)])
    cluster.nodes.doubt("head")
    await cluster.settle()
    assert cluster.gateway.deployments() == ("smol:llamacpp",)


@pytest.mark.slow
async def test_news_of_links_that_were_lost_are_made_up_for(cluster: PlayedCluster) -> None:
    await cluster.deploy(served())
    await cluster.report(replica())
    cluster.nodes.lose("worker-1", heard=False)
    cluster.nodes.worker("worker-2").have([replica(number=2)])
    cluster.nodes.link("worker-2", "worker", heard=False)
    await until(lambda: ready(cluster) == [("worker-2", 2)])
    cluster.nodes.lose("head", heard=False)
    cluster.nodes.begin_head().serve([served(), served("b")])
    cluster.nodes.link("head", "head", heard=False)
    await until(lambda: len(cluster.gateway.deployments()) == 2)


async def test_routes_do_not_flap_while_a_whole_is_loaded_page_by_page(tmp_path: Path) -> None:
    replicas = [replica(number=number) for number in range(1, 8)]
    async with running_gateway(tmp_path, nodes=PlayedNodes(page=2)) as cluster:
        seen: list[int] = []
        publish = cluster.gateway.board.publish

        def watch(route: Any) -> None:
            publish(route)
            seen.append(len(route.ready))

        await cluster.deploy(served())
        await cluster.report(*replicas)
        assert len(ready(cluster)) == 7
        cluster.gateway.board.publish = watch  # type: ignore[method-assign]
        cluster.nodes.begin_worker("worker-1")
        await cluster.report(*replicas[1:])
        assert ready(cluster) == [("worker-1", number) for number in range(2, 8)]
        assert set(seen) == {6}, "only what is gone goes"


async def test_two_workers_with_the_same_replica_both_get_requests(cluster: PlayedCluster) -> None:
    await cluster.deploy(served())
    await cluster.report(replica())
    await cluster.report(replica(), node="worker-2")
    assert ready(cluster) == [("worker-1", 1), ("worker-2", 1)]
    await cluster.report(LEAVING, node="worker-2")
    await cluster.report(LEAVING)
    await until(lambda: len(cluster.nodes.heard) == 2)
    assert {node for node, _ in cluster.nodes.heard} == {"worker-1", "worker-2"}


# ---- the gateway's own restarts


async def test_a_gateway_that_starts_without_a_head_begins_with_what_it_heard_last(tmp_path: Path) -> None:
    nodes = PlayedNodes()
    async with running_gateway(tmp_path, nodes=nodes) as before:
        await before.deploy(served(), served("b"))
        nodes.head.locate(WORKERS)
        await before.settle()
    async with running_gateway(tmp_path, nodes=nodes) as after:
        assert after.dialled == [WORKERS]
        assert [model.id async for model in after.client().models.list()] == ["b", "smol"]
        nodes.begin_head().serve([served("b")])
        nodes.link("head", "head")
        await after.settle()
        assert after.gateway.deployments() == ("b:llamacpp",)
        assert after.dialled == [WORKERS, ()]


async def on_disk(cluster: PlayedCluster) -> list[str]:
    """Return the deployments of the snapshot, sorted."""
    snapshot = await anyio.to_thread.run_sync(SnapshotFile(cluster.settings.snapshot_path).load)
    return [] if snapshot is None else sorted(model.id for model in snapshot.models)


@pytest.mark.slow
async def test_before_it_knows_all_deployments_a_gateway_denies_none(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, nodes=PlayedNodes(page=2)) as cluster:

        async def asked() -> list[tuple[int, str]]:
            http = cluster.http()
            answers = [
                await http.post("/v1/embeddings", json={"model": "nobody"}),
                await http.get("/v1/models/nobody"),
            ]
            return [(answer.status_code, answer.json()["error"]["code"]) for answer in answers]

        assert await asked() == [(503, "head_unavailable")] * 2
        cluster.nodes.head.serve([served("a"), served("b"), served("c")])
        cluster.nodes.loses = lambda message: isinstance(message, RoutesPage) and message.after is not None
        cluster.nodes.link("head", "head")
        await cluster.settle()
        assert cluster.gateway.deployments() == ("a:llamacpp", "b:llamacpp")
        assert await asked() == [(503, "head_unavailable")] * 2
        cluster.nodes.loses = lambda _: False
        await cluster.lose("head")
        cluster.nodes.link("head", "head")
        await cluster.settle()
        assert await asked() == [(404, "model_not_found")] * 2
    async with running_gateway(tmp_path) as cluster:
        assert await asked() == [(404, "model_not_found")] * 2, "a gateway before it was told"


@pytest.mark.slow
async def test_what_the_head_says_is_on_disk_soon(cluster: PlayedCluster) -> None:
    for models in ((served("a"),), (served("a"), served("b")), (served("c"),)):
        await cluster.deploy(*models)
        with anyio.fail_after(60):
            while await on_disk(cluster) != [model.id for model in models]:  # noqa: ASYNC110
                await anyio.sleep(0.01)


async def test_a_gateway_that_stops_at_once_has_saved_what_it_knew(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as cluster:
        await cluster.deploy(served())
        assert await on_disk(cluster) == []
    assert await on_disk(cluster) == ["smol:llamacpp"]


async def test_a_disk_that_cannot_be_written_keeps_no_gateway_from_stopping(tmp_path: Path) -> None:
    (tmp_path / "routing.json").mkdir()
    (tmp_path / "routing.json" / "inside").touch()
    with capture_logs() as logs:
        async with running_gateway(tmp_path) as cluster:
            (tmp_path / "routing.json").mkdir()
            (tmp_path / "routing.json" / "inside").touch()
            await cluster.deploy(served())
    warnings = [each for each in logs if each["event"] == "snapshot.not_saved"]
    assert [each["path"] for each in warnings] == [str(tmp_path / "routing.json")]


async def test_a_spoilt_snapshot_does_not_keep_a_gateway_from_starting(tmp_path: Path) -> None:
    (tmp_path / "routing.json").write_text("{")
    async with running_gateway(tmp_path) as cluster:
        assert (await cluster.http().get("/health")).status_code == 200


async def test_a_gateway_actor_that_fails_comes_back_knowing_what_it_knew(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async with broken_engine() as engine:
        await cluster.deploy(served("smol", "vllm"), served("b"))
        await cluster.report(replica("smol:vllm", address=engine.address))
        await crash(cluster)
        answer = await cluster.http().post("/v1/chat/completions", json={"model": "smol"})
        assert answer.status_code == 200
        await cluster.deploy()
        assert cluster.gateway.deployments() == ()


async def test_what_went_while_the_gateways_actor_was_down_is_gone_when_it_is_back(
    cluster: PlayedCluster,
) -> None:
    await cluster.deploy(served(), served("b"))
    await cluster.report(replica(), replica(number=2))
    await cluster.report(replica(number=3), node="worker-2")
    cluster.nodes.loses = lambda _: True
    cluster.nodes.head.serve([served()])
    cluster.nodes.worker("worker-1").have([replica(number=2)])
    cluster.nodes.lose("worker-2", heard=False)
    cluster.nodes.loses = lambda _: False
    await crash(cluster)
    assert cluster.gateway.deployments() == ("smol:llamacpp",)
    assert ready(cluster) == [("worker-1", 2)]


async def test_a_message_that_it_does_not_know_is_an_answer_and_no_failure(cluster: PlayedCluster) -> None:
    with pytest.raises(RemoteFailure, match="takes no WorkerAddress"):
        await cluster.system.named(GATEWAY).ask(WORKERS[0], timeout=1)
    assert cluster.system.statistics().restarts == 0


@pytest.mark.slow
async def test_a_disk_that_does_not_answer_keeps_no_gateway_from_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, waiting = threading.Event(), threading.Semaphore(0)
    save = SnapshotFile.save

    def hang(file: SnapshotFile, number: int, snapshot: Any) -> None:
        waiting.release()
        goes_on.wait()
        save(file, number, snapshot)

    monkeypatch.setattr(SnapshotFile, "save", hang)
    with capture_logs() as logs:
        async with running_gateway(tmp_path) as cluster:
            await cluster.deploy(served())
            await anyio.to_thread.run_sync(waiting.acquire)
            await cluster.deploy(served("b"))
    goes_on.set()
    warnings = [each for each in logs if each["event"] == "snapshot.not_saved"]
    assert [each["error"] for each in warnings] == ["it took too long"]


async def test_a_disk_that_was_full_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sllm_actors.gateway.routing.memory.saving.SAVE_AGAIN", 0.1)
    monkeypatch.setattr("sllm_actors.gateway.routing.memory.saving.SAVE_DELAY", 0.1)
    folder = tmp_path / "full"
    with capture_logs() as logs:
        async with running_gateway(folder) as cluster:
            await cluster.deploy(served())
            await until(lambda: [each for each in logs if each["event"] == "snapshot.not_saved"])
            folder.mkdir()
            await until(lambda: cluster.settings.snapshot_path.exists())
            assert await on_disk(cluster) == ["smol:llamacpp"]
