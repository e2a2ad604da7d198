"""The head's actor when nodes go, when it is restarted, and when its store or messages are lost."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from attrs import evolve
from structlog.testing import capture_logs

from sllm_actors.actors import ActorGone, Incarnation, NodeId
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.serving.links.outbidding import OUTBID_AFTER
from sllm_actors.serving.messages import (
    CONTROLLER,
    DeleteDeployment,
    DrainNode,
    PauseRollout,
    ResumeRollout,
    UndrainNode,
    UpdateDeployment,
    WorkerAddress,
)
from sllm_actors.serving.picture import fleet
from sllm_actors.serving.picture.node import Link
from sllm_actors.serving.store.problem import StoreProblem
from sllm_actors.serving.views.messages import DescribeCluster
from sllm_actors.transport import Peer, PeerLost, PeerUp

from .head import SETTLE_TIME, Head, running_head
from .kit import spec, until

pytestmark = pytest.mark.anyio

ID = "m:llamacpp"


# ---- nodes


@pytest.mark.slow
async def test_a_worker_is_drained_and_undrained(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        first = await head.join("w1")
        await head.deploy(spec())
        await head.ready("w1")
        outcome, said = await head.ask(DrainNode("w1"))
        assert (outcome, said["replicas"]) == ("pending", 1)
        second = await head.join("w2")
        assert len(second.runs) == 1
        assert len(first.runs) == 1, "it serves until the other does"
        await head.ready("w2")
        assert list(first.stops.values()) == ["its worker is being drained"]
        await head.ready("w1")
        assert (await head.ask(DrainNode("w1")))[0] == "done"
        assert [each.draining for each in (await head.stored()).nodes if each.id == "w1"] == [True]
        assert (await head.ask(UndrainNode("w1")))[0] == "done"


@pytest.mark.slow
async def test_replicas_of_a_lost_worker_are_placed_elsewhere_after_a_grace(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        for node in ("w1", "w2", "w3"):
            await head.join(node)
        await head.deploy(spec())
        (first,) = [node for node, played in head.nodes.items() if played.runs]
        await head.ready(first)
        await head.lose(first)
        others = [played for node, played in head.nodes.items() if node != first]
        assert not any(played.runs for played in others)
        await head.advance(10.1)
        assert sum(len(played.runs) for played in others) == 1


async def test_the_loss_of_an_old_life_after_the_new_one_came_changes_nothing(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        worker = await head.join("w1")
        await head.deploy(spec())
        old = Peer(NodeId("w1"), "worker", Incarnation(1, 0), "w1.lan", outbound=False)
        worker = await head.join("w1", life=2)
        head.tell(PeerLost(old, "it is silent"))
        await head.rest()
        await head.advance(11)
        assert len(worker.runs) == 1
        head.tell(PeerUp(old))
        await head.rest()
        (shown,) = [each for each in (await head.describe())["nodes"] if each["id"] == "w1"]
        assert shown["state"] == "up"


@pytest.mark.slow
async def test_links_of_which_the_news_was_lost_are_noticed(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.up("w1")
        peer = head.peers["w1"]
        del head.peers["w1"]  # and nobody tells the head's actor
        await head.advance(1.0)
        assert head.controller._picture.fleet.nodes["w1"].link is Link.SUSPECT
        head.peers["w1"] = later = evolve(peer, incarnation=Incarnation(2, 0))
        await head.advance(1.0)
        node = head.controller._picture.fleet.nodes["w1"]
        assert (node.link, node.incarnation) == (Link.UP, later.incarnation)


@pytest.mark.slow
async def test_reports_of_nodes_that_are_not_linked_are_ignored(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        worker = await head.join("w1")
        await head.deploy(spec())
        await head.lose("w1")
        await head.report("w1", *[ReplicaReport(key.attempt(1), ReplicaState.READY) for key in worker.runs])
        assert (await head.describe(ID))["ready_replicas"] == 0


# ---- restarts


@pytest.mark.slow
async def test_a_restarted_head_adopts_what_runs_and_starts_nothing_twice(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        await head.join("w2")
        await head.deploy(spec(replicas=2))
        for node in ("w1", "w2"):
            await head.ready(node)
        running = {node: tuple(played.replicas.page(None).entries) for node, played in head.nodes.items()}
    async with running_head(tmp_path) as head:
        first = await head.join("w1", *running["w1"])
        assert first.runs == [each.id.key for each in running["w1"]], "the other may run the second replica"
        gateway = await head.up("g", "gateway")
        assert list(gateway.routes) == [ID], "a gateway that is told too little would drop routes"
        second = await head.join("w2", *running["w2"])
        assert [first.runs, second.runs] == [[each.id.key for each in running[node]] for node in ("w1", "w2")]
        assert (await head.describe(ID))["ready_replicas"] == 2


@pytest.mark.slow
async def test_a_worker_that_does_not_come_back_is_waited_for_no_longer_than_that(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        await head.deploy(spec())
        await head.ready("w1")
    async with running_head(tmp_path) as head:
        worker = await head.join("w2")
        assert worker.orders == {}
        await head.advance(SETTLE_TIME)
        assert len(worker.runs) == 1
        assert [each.id for each in (await head.stored()).nodes] == ["w2"]


@pytest.mark.slow
async def test_requests_are_answered_while_the_head_waits(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        await head.deploy(spec())
    async with running_head(tmp_path) as head:
        assert (await head.describe(ID))["desired_replicas"] == 1
        assert (await head.deploy(spec("other")))[0] == "done"
        assert (await head.delete(ID))[0] == "pending"


async def test_an_empty_store_stops_nothing_and_takes_back_what_runs(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    async with running_head(tmp_path / "one") as head:
        await head.join("w1")
        await head.deploy(spec())
        await head.ready("w1")
        (key,) = head.nodes["w1"].runs
        run = head.nodes["w1"].orders[key].run
        assert run is not None
        running = tuple(head.nodes["w1"].replicas.page(None).entries)
    async with running_head(tmp_path / "two") as head:
        head.documents[key.uid] = run.document
        worker = await head.join("w1", *running)
        assert worker.orders == {}
        await head.advance(SETTLE_TIME)
        assert worker.runs == [key]
        shown = await head.describe(ID)
        assert (shown["uid"], shown["ready_replicas"]) == (key.uid, 1)
    async with running_head(tmp_path / "two") as head:
        worker = await head.join("w1", *running)
        assert worker.runs == [key], "it is in the store now"


@pytest.mark.slow
async def test_a_controller_that_crashes_goes_on_from_the_store_and_the_links(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        worker = await head.join("w1")
        await head.deploy(spec())
        await head.ready("w1")
        before = worker.runs
        head.tell(PeerUp(None))  # type: ignore[arg-type]
        with suppress(ActorGone):
            await head.rest()
        await until(lambda: head.system.statistics().restarts == 1)
        await until(lambda: head.system.whereis(CONTROLLER) is not None)
        await head.have("w1")
        await head.advance(SETTLE_TIME)
        assert worker.runs == before
        assert (await head.describe(ID))["ready_replicas"] == 1


@pytest.mark.slow
async def test_the_epoch_rises_with_each_start_and_above_what_workers_have_obeyed(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        worker = await head.join("w1")
        await head.deploy(spec())
        assert worker.following["orders"].position == (1, 1)
    async with running_head(tmp_path) as head:
        worker = await head.join("w1")
        await head.have("w1", epoch=40)
        await head.advance(OUTBID_AFTER + 2)
        position = worker.following["orders"].position
        assert position is not None
        assert position[0] == 41
        assert len(worker.runs) == 1
        assert (await head.stored()).epoch == 41


async def test_a_head_does_not_outbid_another_one_that_is_there(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        worker = await head.join("w1")
        await head.have("w1", epoch=40)
        await head.have("w1", epoch=40, obeys="other")  # the worker has found that head again
        await head.advance(2 * OUTBID_AFTER)
        assert (await head.stored()).epoch == 1
        await head.have("w1", epoch=40)  # and lost it
        await head.advance(OUTBID_AFTER + 2)
        assert (await head.stored()).epoch == 41
        position = worker.following["orders"].position
        assert position is not None
        assert position[0] == 41


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["it obeys no head", "its link is lost"])
async def test_a_head_does_not_outbid_one_that_another_worker_obeys(tmp_path: Path, ends: str) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        await head.join("w2")
        await head.have("w1", epoch=40, obeys="other")
        await head.have("w2", epoch=40)  # its link to that head takes longer to come back
        await head.advance(2 * OUTBID_AFTER)
        assert (await head.stored()).epoch == 1
        if ends == "its link is lost":
            await head.lose("w1")
        else:
            await head.have("w1", epoch=40)
        await head.advance(OUTBID_AFTER + 2)
        assert (await head.stored()).epoch == 41


async def test_what_was_said_by_a_worker_that_is_lost_outbids_nobody(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        await head.have("w1", epoch=40)
        await head.lose("w1")
        await head.have("w1", epoch=40)
        await head.advance(2 * OUTBID_AFTER)
        assert (await head.stored()).epoch == 1


async def test_that_another_head_is_obeyed_is_logged_when_it_begins(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        with capture_logs() as logs:
            for obeys in ("other", "other", "third", "", "third"):
                await head.have("w1", epoch=40, obeys=obeys)
        told = [each["obeys"] for each in logs if each["event"] == "controller.not_obeyed"]
        assert told == ["other", "third", "third"]


@pytest.mark.slow
async def test_a_worker_that_was_forgotten_and_comes_back_is_followed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "MAX_DOWN", 1)
    async with running_head(tmp_path) as head:
        for node in ("w1", "w2", "w3"):
            await head.join(node)
            await head.lose(node)
            await head.advance(11)
        assert len(head.controller._reports) == len(head.controller._feeds) == 1
        worker = await head.join("w1", life=2)
        await head.deploy(spec())
        await head.ready("w1")
        assert len(worker.runs) == 1
        assert (await head.describe(ID))["ready_replicas"] == 1


async def test_what_a_head_without_its_store_may_find_again_cannot_be_deleted_or_changed_yet(
    tmp_path: Path,
) -> None:
    async with running_head(tmp_path) as head:
        key = ReplicaKey(ID, 1, 1, "u")
        await head.join("w1", ReplicaReport(key.attempt(1), ReplicaState.READY))
        for request in (
            DeleteDeployment(ID),
            PauseRollout(ID),
            ResumeRollout(ID),
            UpdateDeployment(ID, "{}"),
        ):
            outcome, said = await head.ask(request)
            assert (outcome, said["code"], said["retry_after"]) == ("unavailable", "recovering", 10)
            assert ID in said["message"]
        await head.report("w1", gone=(key,))
        outcome, said = await head.delete(ID)
        assert (outcome, said["code"]) == ("unknown", "deployment_not_found")


# ---- gateways


@pytest.mark.slow
async def test_gateways_are_told_what_exists(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        gateway = await head.up("g", "gateway")
        await head.join("w1")
        await head.deploy(spec())
        assert gateway.addresses == {"w1": WorkerAddress("w1", "w1.lan", 8002)}
        (route,) = gateway.routes.values()
        assert (route.id, route.revisions) == (ID, (1,))
        (stored,) = (await head.stored()).deployments
        assert route.uid == stored.uid
        late = await head.up("g2", "gateway")
        assert late.routes == gateway.routes
        await head.delete(ID)
        assert gateway.routes == late.routes == {}


@pytest.mark.slow
async def test_orders_and_routes_that_were_lost_are_said_again(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        worker, gateway = await head.join("w1"), await head.up("g", "gateway")
        head.network.lost |= {"w1", "g"}
        await head.deploy(spec())
        assert (worker.runs, gateway.routes) == ([], {})
        head.network.lost.clear()
        for _ in range(40):
            await head.advance(0.1)
        assert len(worker.runs) == 1
        assert list(gateway.routes) == [ID]


# ---- a store that fails


async def test_what_cannot_be_kept_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_head(tmp_path) as head:
        worker = await head.join("w1")
        await _fail(head, monkeypatch)
        outcome, said = await head.deploy(spec())
        assert (outcome, said["code"], said["message"]) == ("unavailable", "store_unavailable", "it is full")
        assert worker.runs == []
        monkeypatch.undo()
        head.away = False
        assert (await head.deploy(spec()))[0] == "done"
        assert len(worker.runs) == 1


@pytest.mark.slow
async def test_the_head_goes_on_placing_while_the_store_is_away_and_writes_it_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_head(tmp_path) as head:
        first = await head.join("w1")
        await head.deploy(spec())
        await head.ready("w1")
        (running,) = first.runs
        await _fail(head, monkeypatch)
        second = await head.join("w2")
        for failures in (1, 2, 3):
            failed = ReplicaReport(running.attempt(failures), ReplicaState.FAILED, failures=failures)
            await head.report("w1", evolve(failed, reason="it broke"))
        assert len(second.runs) == 1
        assert [each.id for each in (await head.stored()).nodes] == ["w1"]
        monkeypatch.undo()
        head.away = False
        for _ in range(30):
            await head.advance(0.1)
        assert sorted(each.id for each in (await head.stored()).nodes) == ["w1", "w2"]


async def _fail(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    def apply(_writes: object) -> None:
        raise StoreProblem("it is full")

    monkeypatch.setattr(head.store, "apply", apply)
    head.away = True


async def test_what_it_does_not_know_is_an_answer_and_no_failure(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        with pytest.raises(Exception, match="takes no WorkerAddress"):
            await head.system.named(CONTROLLER).ask(WorkerAddress("w1", "", 1), timeout=1)
        assert (await head.ask(DescribeCluster()))[0] == "done"
        assert head.system.statistics().restarts == 0
