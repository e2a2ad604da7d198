"""The head's actor: its promises to people, workers and gateways, over restarts, losses and full disks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.serving.deployment.document import write_document
from sllm_actors.serving.deployment.spec import Scaling
from sllm_actors.serving.messages import (
    Demand,
    Deploy,
    DrainNode,
    PauseRollout,
    ResumeRollout,
    UndrainNode,
    UpdateDeployment,
)
from sllm_actors.serving.store import writer
from sllm_actors.serving.views.messages import DescribeDeployment
from sllm_actors.transport import PeerLost, PeerUp

from .head import SETTLE_TIME, running_head
from .kit import spec

pytestmark = pytest.mark.anyio

ID = "m:llamacpp"


# ---- demand


async def test_what_clients_want_is_shown_and_tells_gateways_their_share(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.deploy(spec())
        first = await head.up("g1", "gateway")
        await head.up("g2", "gateway")
        await head.want("g1", Demand(ID, 2, 1, 0))
        shown = await head.describe(ID)
        assert (shown["held"], shown["in_flight"], shown["gateways"]) == (2, 1, 1)
        assert first.routes[ID].gateways == 1
        await head.want("g2", Demand(ID, 0, 4, 0), Demand("unknown:vllm", 1, 0, 0))
        shown = (await head.describe())["deployments"][0]
        assert (shown["held"], shown["in_flight"], shown["gateways"]) == (2, 5, 2)
        assert first.routes[ID].gateways == 2
        await head.lose("g2")
        await head.advance(4.0)
        await head.beat("g1")
        await head.advance(2.0)
        assert (await head.describe(ID))["gateways"] == 1, "the other one has been silent for 5 s"
        assert first.routes[ID].gateways == 1
        await head.up("g2", "gateway", life=2)
        assert (await head.describe(ID))["gateways"] == 1, "it has begun anew, with no clients"


async def test_a_head_that_restarts_asks_gateways_what_their_clients_want(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.deploy(spec())
    async with running_head(tmp_path) as head:
        await head.up("g1", "gateway")
        await head.want("g1", Demand(ID, 1, 0, 0))
        head.controller._demand.forget("g1")
        head.tell(PeerLost(head.peers["g1"], "it restarts"))
        head.tell(PeerUp(head.peers["g1"]))
        await head.want("g1", Demand(ID, 7, 0, 0))
        assert (await head.describe(ID))["held"] == 7
        await head.want("g1")
        shown = await head.describe(ID)
        assert (shown["held"], shown["gateways"]) == (0, 0)


@pytest.mark.slow
async def test_a_head_that_is_stopped_keeps_what_it_has_learned_of_pauses(tmp_path: Path) -> None:
    wanted = spec(scaling=Scaling(min_instances=0, learn_keep_alive=True))
    async with running_head(tmp_path) as head:
        await head.deploy(wanted)
        await head.up("g1", "gateway")
        for _ in range(4):
            await head.want("g1", Demand(ID, 0, 1, 0))
            await head.want("g1")
            await head.advance(70.0)
    async with running_head(tmp_path) as head:
        pauses = head.controller._picture.catalogue.by_id[ID].scaler.pauses
        assert pauses is not None
        assert pauses.bins == {1: 3.0}


async def test_a_head_that_is_stopped_has_written_all_of_its_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        monkeypatch.setattr(writer, "GATHER", 60.0)
        for change in (DrainNode("w1"), UndrainNode("w1"), DrainNode("w1")):
            await head.ask(change)
    async with running_head(tmp_path) as head:
        kept = [each.kind for each in head.controller._journal.about("w1")]
        assert kept[-3:] == ["node.draining", "node.undrained", "node.draining"]


# ---- deploying


@pytest.mark.slow
async def test_a_worker_whose_connection_was_closed_is_suspect_at_once_and_up_when_it_is_back(
    tmp_path: Path,
) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        await head.deploy(spec())
        await head.ready("w1")

        async def shown() -> tuple[str, str, list[str]]:
            (node,) = (await head.describe())["nodes"]
            instances = (await head.describe(ID))["instances"]
            return node["state"], node["reason"], [each["state"] for each in instances]

        await head.doubt("w1")
        assert await shown() == ("suspect", "it was reset", ["ready"]), "what it runs still counts"
        await head.advance(1.0)
        assert await shown() == ("suspect", "it was reset", ["ready"]), "though it is linked still"
        await head.trust("w1")
        assert await shown() == ("up", "", ["ready"])
        assert not head.nodes["w1"].stops
        await head.doubt("w1")
        await head.trust("w1", heard=False)
        await head.advance(1.0)
        assert (await shown())[0] == "up", "news may be lost"
        await head.doubt("w1")
        await head.lose("w1")
        assert (await shown())[0] == "suspect"
        await head.advance(10.0)
        assert (await shown())[0] == "down"


@pytest.mark.slow
async def test_what_waits_for_a_worker_whose_connection_was_closed_goes_to_another_at_once(
    tmp_path: Path,
) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        await head.up("g1", "gateway")
        await head.deploy(spec())
        await head.ready("w1")
        other = await head.join("w2")
        await head.want("g1", Demand(ID, 1, 0, 0))
        assert not other.orders
        await head.doubt("w1")
        assert [order.run is not None for order in other.orders.values()] == [True]


async def test_a_gateway_whose_connection_was_closed_is_there_until_it_is_lost(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.up("g1", "gateway")
        await head.doubt("g1")
        await head.trust("g1")
        await head.doubt("g1")
        assert [node["state"] for node in (await head.describe())["nodes"]] == ["up"]


async def test_a_deployment_is_kept_and_ordered_from_a_worker(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        worker = await head.join("w1")
        outcome, said = await head.deploy(spec())
        assert (outcome, said["deployment_id"], said["created"], said["revision"]) == ("done", ID, True, 1)
        (stored,) = (await head.stored()).deployments
        (ordered,) = worker.runs
        assert (ordered.deployment, ordered.uid, ordered.revision) == (ID, stored.uid, 1)
        run = worker.orders[ordered].run
        assert run is not None
        assert json.loads(run.document)["model"] == "m"


async def test_the_same_deployment_again_is_no_mistake(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.deploy(spec())
        outcome, said = await head.deploy(spec())
        assert (outcome, said["created"], said["revision"]) == ("done", False, 1)


async def test_other_settings_are_a_conflict_that_names_the_keys(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.deploy(spec())
        outcome, said = await head.deploy(spec(hold_limit=3, source="/other"))
        assert (outcome, said["code"]) == ("conflict", "deployment_exists")
        assert "hold_limit, source differ" in said["message"]
        assert "update" in said["message"]


async def test_what_every_worker_refuses_is_refused(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        await head.join("w2")
        head.problems = {"w1": "there is no file", "w2": "there is no file"}
        outcome, said = await head.deploy(spec())
        assert (outcome, said["message"], said["param"]) == ("invalid", "there is no file", "source")
        head.problems = {}
        assert (await head.deploy(spec()))[0] == "done", "nothing of the first is left"


@pytest.mark.slow
async def test_how_large_a_model_is_counts_until_its_engine_was_measured_also_after_a_restart(
    tmp_path: Path,
) -> None:
    async with running_head(tmp_path) as head:
        for node, size in (("w1", 3_000), ("w2", 2_000)):
            await head.join(node)
            head.sizes[node] = size
        await head.deploy(spec())
        described = await head.describe(spec().id)
        assert (described["memory"], described["memory_by"]) == (3_000, "files")
    async with running_head(tmp_path) as head:
        described = await head.describe(spec().id)
        assert (described["memory"], described["memory_by"]) == (3_000, "files")


@pytest.mark.slow
async def test_what_three_of_many_refuse_is_taken_with_a_warning(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        for number in range(5):
            await head.join(f"w{number}")
            head.problems[f"w{number}"] = "there is no file"
        outcome, said = await head.deploy(spec())
        assert outcome == "done"
        assert said["warnings"] == ["3 workers were asked, and all refuse it: there is no file"]
        assert sum(node in head.nodes for node, _ in head.network.asked) == 3


async def test_a_worker_that_does_not_answer_holds_nobody_up(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        head.silent.add("w1")
        found: list[Any] = []
        async with anyio.create_task_group() as tasks:

            async def deploy() -> None:
                found.append(await head.ask(Deploy(json.dumps(write_document(spec())))))

            tasks.start_soon(deploy)
            await anyio.wait_all_tasks_blocked()
            await head.clock.advance(5)
        assert found[0][0] == "done"


async def test_two_who_deploy_the_same_at_once_do_not_both_create_it(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        found: list[Any] = []
        async with anyio.create_task_group() as tasks:

            async def deploy() -> None:
                found.append(await head.ask(Deploy(json.dumps(write_document(spec())))))

            tasks.start_soon(deploy)
            tasks.start_soon(deploy)
        assert sorted(outcome for outcome, _ in found) == ["conflict", "done"]
        (refused,) = [said for outcome, said in found if outcome == "conflict"]
        assert refused["code"] == "change_under_way"
        assert refused["retry_after"] == 1.0
        assert len((await head.stored()).deployments) == 1


async def test_a_deployment_without_any_worker_waits_for_one(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        assert (await head.deploy(spec()))[0] == "done"
        assert "no worker is connected" in (await head.describe(ID))["detail"]
        worker = await head.join("w1")
        assert len(worker.runs) == 1


async def test_what_a_worker_refuses_goes_to_another(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        nodes = {node: await head.join(node) for node in ("w1", "w2")}
        await head.deploy(spec())
        (first,) = [node for node, played in nodes.items() if played.runs]
        (second,) = nodes.keys() - {first}
        (refused,) = nodes[first].runs
        report = ReplicaReport(refused.attempt(0), ReplicaState.FAILED, unfit=True, reason="no such file")
        await head.report(first, report)
        assert "no such file" in nodes[first].stops[refused]
        assert len(nodes[second].runs) == 1


# ---- updates and rollouts


async def test_an_update_is_rolled_out_behind_readiness(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        worker = await head.join("w1")
        await head.deploy(spec())
        await head.ready("w1")
        outcome, said = await head.ask(UpdateDeployment(ID, '{"source": "/other"}'))
        assert (outcome, said["revision"], said["changed"]) == ("done", 2, ["source"])
        await head.rest()
        assert sorted(key.revision for key in worker.runs) == [1, 2]
        shown = await head.describe(ID)
        assert (shown["revision"], shown["rollout"]["revision"]) == (1, 2)
        await head.ready("w1")
        await head.ready("w1")
        assert [key.revision for key in worker.runs] == [2]
        shown = await head.describe(ID)
        assert (shown["revision"], shown["rollout"]) == (2, None)
        (stored,) = (await head.stored()).deployments
        assert (stored.current, stored.target) == (2, None)


@pytest.mark.slow
async def test_a_change_of_policy_restarts_nothing(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        worker = await head.join("w1")
        gateway = await head.up("g", "gateway")
        await head.deploy(spec())
        await head.ready("w1")
        before = worker.runs
        outcome, said = await head.ask(UpdateDeployment(ID, '{"hold_limit": 7, "drain_timeout": 3}'))
        assert (outcome, said["revision"], said["generation"]) == ("done", 1, 2)
        await head.rest()
        assert worker.runs == before
        run = worker.orders[before[0]].run
        assert run is not None
        assert run.drain_timeout == 3
        assert gateway.routes[ID].hold_limit == 7


@pytest.mark.slow
async def test_an_update_outlives_the_head_in_the_middle_of_a_rollout(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        await head.deploy(spec())
        await head.ready("w1")
        await head.ask(UpdateDeployment(ID, '{"source": "/other"}'))
        await head.rest()
        await head.ready("w1")
        running = tuple(head.nodes["w1"].replicas.page(None).entries)
    async with running_head(tmp_path) as head:
        worker = await head.join("w1", *running)
        await head.ready("w1")
        await head.ready("w1")
        assert [key.revision for key in worker.runs] == [2]
        assert (await head.describe(ID))["revision"] == 2


@pytest.mark.slow
async def test_a_rollout_is_paused_and_resumed(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        worker = await head.join("w1")
        await head.deploy(spec())
        await head.ready("w1")
        assert (await head.ask(PauseRollout(ID)))[1]["code"] == "no_rollout"
        await head.ask(UpdateDeployment(ID, '{"source": "/other"}'))
        assert (await head.ask(PauseRollout(ID)))[0] == "done"
        await head.rest()
        assert (await head.describe(ID))["rollout"]["state"] == "paused"
        await head.ready("w1")
        assert 1 in [key.revision for key in worker.runs]
        assert (await head.ask(ResumeRollout(ID)))[0] == "done"
        await head.rest()
        await head.ready("w1")
        await head.ready("w1")
        assert [key.revision for key in worker.runs] == [2]


async def test_a_deploy_with_update_changes_what_exists(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.deploy(spec())
        outcome, said = await head.deploy(spec(source="/other"), update=True)
        assert (outcome, said["revision"], said["changed"]) == ("done", 2, ["source"])


# ---- deleting


@pytest.mark.slow
async def test_a_deletion_ends_when_nothing_runs_any_more_and_revisions_go_on(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        worker = await head.join("w1")
        await head.deploy(spec())
        await head.ready("w1")
        (running,) = worker.runs
        assert (await head.delete(ID))[0] == "pending"
        assert worker.stops == {running: "its deployment is being deleted"}
        assert (await head.describe(ID))["status"] == "deleting"
        assert (await head.deploy(spec()))[1]["code"] == "deployment_deleting"
        await head.report("w1", gone=(running,))
        assert (await head.ask(DescribeDeployment(ID)))[0] == "unknown"
        assert (await head.deploy(spec()))[1]["revision"] == 2
        state = await head.stored()
        assert [each.uid for each in state.deletions] == [running.uid]


async def test_what_is_not_there_cannot_be_changed_or_described(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")  # which runs nothing
        for request in (
            DescribeDeployment(ID),
            UpdateDeployment(ID, "{}"),
            PauseRollout(ID),
            ResumeRollout(ID),
        ):
            outcome, said = await head.ask(request)
            assert (outcome, said["code"]) == ("unknown", "deployment_not_found")
        assert (await head.delete(ID))[0] == "unknown"
        assert (await head.ask(DrainNode("w9")))[1]["code"] == "node_not_found"


@pytest.mark.slow
async def test_a_deleted_deployment_that_a_lost_worker_still_runs_is_stopped_when_it_is_back(
    tmp_path: Path,
) -> None:
    async with running_head(tmp_path) as head:
        await head.join("w1")
        await head.deploy(spec())
        await head.ready("w1")
        running = tuple(head.nodes["w1"].replicas.page(None).entries)
        await head.lose("w1")
        await head.advance(11)
        await head.delete(ID)
        assert (await head.ask(DescribeDeployment(ID)))[0] == "unknown"
    async with running_head(tmp_path) as head:
        worker = await head.join("w1", *running, life=2)
        await head.advance(SETTLE_TIME)
        assert worker.stops == {running[0].id.key: "its deployment was deleted"}
