"""Who may be whom in a cluster, over real sockets: joining, what is lost, and what is taken from whom."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import anyio
import pytest
import trustme
from structlog.testing import capture_logs

from sllm_actors.actors import AskError
from sllm_actors.cluster.credentials import Binding
from sllm_actors.cluster.home import NodeHome
from sllm_actors.cluster.messages import CREDENTIAL_KEEPER, KeepCredential
from sllm_actors.cluster.tls_files import TlsFiles
from sllm_actors.engines.identity import ReplicaId
from sllm_actors.nodes.node import MESSAGES
from sllm_actors.serving.messages import (
    WORKER,
    Inventory,
    Withdrawn,
    WorkerInventory,
)
from sllm_actors.serving.store.database import sqlite_url
from sllm_actors.serving.store.problem import StoreProblem
from sllm_actors.serving.store.store import Store
from sllm_actors.serving.streams import OrdersDifference, ReplicasDifference
from sllm_actors.testing.node_keys import key_of
from sllm_actors.transport import issue_credential

from .who import CLUSTER, Opened, head, joined, member, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_node_joins_with_its_bare_key_and_shows_its_credential_from_then_on(tmp_path: Path) -> None:
    async with head(tmp_path / "h") as h:
        async with member(tmp_path / "w", dials=h.port) as w:
            await joined(w)
            assert [up.peer.has_credential for up in h.ups] == [False]
            node = w.home.node
        async with member(tmp_path / "w", dials=h.port) as w:
            await until(lambda: len(h.ups) == 2)
            assert h.ups[1].peer.node == node == w.home.node
            assert h.ups[1].peer.has_credential


async def test_a_node_is_given_its_credential_though_the_news_of_its_link_was_lost(tmp_path: Path) -> None:
    async with head(tmp_path / "h", hears=False) as h, member(tmp_path / "w", dials=h.port) as w:
        await joined(w)
        assert set(await anyio.to_thread.run_sync(h.store.node_keys)) == {w.home.node}


async def test_a_gateway_links_with_a_worker_once_both_have_joined(tmp_path: Path) -> None:
    async with (
        head(tmp_path / "h") as h,
        member(tmp_path / "w") as w,
        member(tmp_path / "g", "gateway", dials=h.port) as g,
    ):
        await joined(g)
        g.node.transport.dial("127.0.0.1", w.port, "worker")
        await until(lambda: "that worker has no credential of the head yet" in g.sentence)
        assert not g.no_links[-1].refused
        w.node.transport.dial("127.0.0.1", h.port, "head")
        await until(lambda: any(up.peer.role == "worker" for up in g.ups))


async def test_a_node_that_lost_its_credential_is_given_the_same_one(tmp_path: Path) -> None:
    async with head(tmp_path / "h") as h:
        async with member(tmp_path / "w", dials=h.port) as w:
            await joined(w)
            before = w.home.credential(CLUSTER)
        (tmp_path / "w" / "credentials.json").unlink()
        async with member(tmp_path / "w", dials=h.port) as w:
            await joined(w)
            assert w.home.credential(CLUSTER) == before


async def test_a_node_that_lost_its_key_is_refused_until_it_joins_as_a_new_one(tmp_path: Path) -> None:
    async with head(tmp_path / "h") as h:
        async with member(tmp_path / "w", dials=h.port) as w:
            await joined(w)
            node = w.home.node
        (tmp_path / "w" / "node.key").unlink()
        async with member(tmp_path / "w", dials=h.port) as w:
            await until(lambda: w.sentence)
            assert w.sentence.endswith(
                f"refused this node: this one has another key than the worker that joined as {node}: "
                'put its file "node.key" back beside node.json, or move node.json away to join as a new '
                f"node; or if the other one is gone for good, forget it with: sllm node remove {node}"
            )
            assert w.no_links[-1].refused
        (tmp_path / "w" / "node.json").unlink()
        async with member(tmp_path / "w", dials=h.port) as w:
            await until(lambda: w.ups)
            await until(lambda: (kept := w.home.credential(CLUSTER)) and kept.node == w.home.node != node)


def make_identity(folder: Path) -> None:
    home = NodeHome.open(folder, "worker")
    home.next_incarnation()
    home.close()


async def test_of_two_nodes_that_join_under_one_id_one_gets_it(tmp_path: Path) -> None:
    async with head(tmp_path / "h") as h:
        await anyio.to_thread.run_sync(make_identity, tmp_path / "a")
        (tmp_path / "b").mkdir()
        shutil.copy(tmp_path / "a" / "node.json", tmp_path / "b")
        async with member(tmp_path / "a", dials=h.port) as a, member(tmp_path / "b", dials=h.port) as b:
            await until(lambda: a.home.credential(CLUSTER) or b.home.credential(CLUSTER))
            winner, loser = (a, b) if a.home.credential(CLUSTER) else (b, a)
            await until(lambda: loser.sentence)
            assert {up.peer.public_key for up in h.ups} == {winner.home.key.public_key}
            lost = loser.home.path
        async with member(lost, dials=h.port) as late:
            await until(lambda: "has another key than the worker that joined as" in late.sentence)
            assert late.home.credential(CLUSTER) is None


async def test_a_node_that_comes_back_in_another_role_is_refused(tmp_path: Path) -> None:
    async with head(tmp_path / "h") as h:
        async with member(tmp_path / "w", dials=h.port) as w:
            await joined(w)
            node = w.home.node
        async with member(tmp_path / "w", "gateway", dials=h.port) as g:
            await until(
                lambda: f"{node} joined as a worker, and this one calls itself a gateway" in g.sentence
            )


async def test_the_head_is_killed_between_binding_and_giving(tmp_path: Path) -> None:
    async with head(tmp_path / "h", gives=False) as h, member(tmp_path / "w", dials=h.port) as w:
        await until(lambda: h.ups)
        key = w.home.key.public_key
        await anyio.to_thread.run_sync(h.store.bind_key, w.home.node, "worker", key, 1.0)
        assert w.home.credential(CLUSTER) is None
    async with head(tmp_path / "h") as h, member(tmp_path / "w", dials=h.port) as w:
        await joined(w)


async def test_nothing_is_given_before_the_store_has_the_binding_and_it_is_tried_again(
    tmp_path: Path,
) -> None:
    failures: list[str] = []

    def bind(store: Store, node: str, binding: Binding) -> None:
        if len(failures) < 2:
            failures.append(node)
            raise StoreProblem("the disk is full")
        store.bind_key(node, *binding, 1.0)

    async with head(tmp_path / "h", bind=bind) as h, member(tmp_path / "w", dials=h.port) as w:
        with capture_logs() as logs:
            await joined(w)
        assert failures == [w.home.node] * 2
        assert [each["reason"] for each in logs if each["event"] == "node.not_bound"]


async def test_a_credential_that_cannot_be_written_is_used_and_given_again_until_it_can(
    tmp_path: Path,
) -> None:
    async with head(tmp_path / "h") as h, member(tmp_path / "w") as w:
        (tmp_path / "w" / "credentials.json").mkdir()
        (tmp_path / "w" / "credentials.json" / "in the way").touch()
        with capture_logs() as logs:
            w.node.transport.dial("127.0.0.1", h.port, "head")
            await until(lambda: [each for each in logs if each["event"] == "credential.not_given"])
            used = w.home.credential(CLUSTER)
            assert used is not None
        shutil.rmtree(tmp_path / "w" / "credentials.json")
        await until((tmp_path / "w" / "credentials.json").exists)
    again = await anyio.to_thread.run_sync(NodeHome.open, tmp_path / "w", "worker")
    assert again.credential(CLUSTER) == used
    again.close()


async def test_a_lost_store_is_filled_again_by_the_credentials_of_nodes(tmp_path: Path) -> None:
    async with head(tmp_path / "h") as h, member(tmp_path / "w", dials=h.port) as w:
        await joined(w)
    for file in (tmp_path / "h").glob("state.db*"):
        file.unlink()
    async with head(tmp_path / "h") as h, member(tmp_path / "w", dials=h.port) as w:
        await until(lambda: h.ups)
        assert h.ups[0].peer.has_credential
        await until(lambda: not h.known.unstored(w.home.node))
    store = await anyio.to_thread.run_sync(Store.open, sqlite_url(tmp_path / "h" / "state.db"))
    found = await anyio.to_thread.run_sync(store.node_keys)
    assert found[w.home.node].public_key == w.home.key.public_key
    await anyio.to_thread.run_sync(store.close)


def forget(folder: Path) -> None:
    home = NodeHome.open(folder, "worker")
    home.forget_credential(CLUSTER)
    home.close()


async def test_a_head_with_a_new_key_is_refused_until_the_node_was_told_to_trust_it(tmp_path: Path) -> None:
    async with head(tmp_path / "h") as h, member(tmp_path / "w", dials=h.port) as w:
        await joined(w)
    (tmp_path / "h" / "head.key").unlink()
    async with head(tmp_path / "h") as h:
        async with member(tmp_path / "w", dials=h.port) as w:
            before = w.home.credential(CLUSTER)
            await until(lambda: w.sentence)
            assert w.sentence == (
                f"127.0.0.1:{h.port} cannot be linked: it has another key (head.key) than the head that "
                "this node joined: put that file back, or if it is lost, "
                "start such nodes once with --trust-new-head"
            )
            assert not w.ups
            assert w.home.credential(CLUSTER) == before, "it is not forgotten because somebody says so"
        await anyio.to_thread.run_sync(forget, tmp_path / "w")
        async with member(tmp_path / "w", dials=h.port) as w:
            await joined(w)
            kept = w.home.credential(CLUSTER)
            assert kept is not None
            assert before is not None
            assert kept.head_key != before.head_key
            assert (kept.node, kept.public_key) == (before.node, before.public_key)


@pytest.mark.parametrize("what", ["another node's", "another head's", "forged", "another cluster's"])
async def test_a_node_keeps_no_credential_that_is_not_its_own(tmp_path: Path, what: str) -> None:
    async with head(tmp_path / "h") as h, member(tmp_path / "w", dials=h.port) as w:
        await joined(w)
        mine = w.home.credential(CLUSTER)
        assert mine is not None
        given = issue_credential(
            key_of("a thief"),
            cluster="elsewhere" if what == "another cluster's" else CLUSTER,
            node=h.home.node if what == "another node's" else w.home.node,
            role="worker",
            public_key=w.home.key.public_key,
        )
        data = given.encode()
        if what == "forged":
            data = data[:-1] + bytes([data[-1] ^ 1])
        with pytest.raises(AskError, match="the credential is not taken"):
            await h.node.system.named(CREDENTIAL_KEEPER, w.home.node).ask(KeepCredential(data), timeout=60)
        assert w.home.credential(CLUSTER) == mine


async def test_a_node_that_begins_a_later_life_while_it_is_given_its_credential_need_not_wait(
    tmp_path: Path,
) -> None:
    begun, proceed = threading.Event(), threading.Event()

    def bind(store: Store, node: str, binding: Binding) -> None:
        if not begun.is_set():
            begun.set()
            proceed.wait(60)
        store.bind_key(node, *binding, 1.0)

    async with head(tmp_path / "h", bind=bind, again_after=3600.0) as h:
        async with member(tmp_path / "w", dials=h.port) as w:
            await until(begun.is_set)
        async with member(tmp_path / "w", dials=h.port) as w:
            await until(lambda: len(h.ups) == 2)
            proceed.set()
            await joined(w)


async def test_joining_and_coming_back_are_the_same_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    (tmp_path / "tls").mkdir()
    names = ("cert.pem", "key.pem", "ca.pem")
    files = TlsFiles(*(tmp_path / "tls" / name for name in names))
    leaf = authority.issue_cert("nodes.of.the.cluster")
    leaf.cert_chain_pems[0].write_to_path(files.certificate)
    leaf.private_key_pem.write_to_path(files.key)
    files.key.chmod(0o600)
    authority.cert_pem.write_to_path(files.authority)
    async with head(tmp_path / "h", tls=files) as h:
        async with member(tmp_path / "w", dials=h.port, tls=files) as w:
            await joined(w)
        async with member(tmp_path / "w", dials=h.port, tls=files) as w:
            await until(lambda: len(h.ups) == 2)
            assert h.ups[1].peer.has_credential
        (tmp_path / "w" / "node.key").unlink()
        async with member(tmp_path / "w", dials=h.port, tls=files) as w:
            await until(lambda: "has another key than the worker that joined" in w.sentence)


async def test_another_secret_is_still_refused_before_anything_else(tmp_path: Path) -> None:
    async with (
        head(tmp_path / "h") as h,
        member(tmp_path / "w", dials=h.port, secret=b"another secret") as w,
    ):
        await until(lambda: "wrong cluster secret" in w.sentence)
        assert not h.known.unstored(w.home.node), "nobody is bound who does not know the secret"


# -- what is taken from whom ----------------------------------------------------------------------


async def heard(sender: Opened, receiver: Opened, name: str, message: object) -> str:
    """Send a message; return why the receiver did not take it, or "" if it reached the name."""
    letters = receiver.node.system.dead_letters
    before = letters.total
    sender.node.system.named(name, receiver.home.node).tell(message)
    await until(lambda: letters.total > before)  # nobody has the name here: what is taken is one, too
    reason = letters.recent[-1].reason
    return "" if reason == "nobody goes by that name" else reason


async def test_orders_are_taken_from_the_dialled_head_and_from_nobody_else(tmp_path: Path) -> None:
    async with (
        head(tmp_path / "h") as h,
        member(tmp_path / "w", dials=h.port) as w,
        member(tmp_path / "g", "gateway", dials=h.port) as g,
    ):
        await joined(w)
        await joined(g)
        g.node.transport.dial("127.0.0.1", w.port, "worker")
        await until(lambda: any(up.peer.role == "worker" for up in g.ups))
        assert await heard(h, w, WORKER, OrdersDifference(str(h.home.node), 1, 1)) == ""
        with capture_logs() as logs:
            for _ in range(3):
                assert await heard(g, w, WORKER, OrdersDifference(str(g.home.node), 1, 1)) == (
                    "serving.orders_difference is not taken from a gateway"
                )
        warned = [each for each in logs if each["event"] == "transport.not_allowed"]
        assert [each["peer"] for each in warned] == [g.home.node]
        (link,) = [each for each in w.node.transport.statistics().links if each.peer.node == g.home.node]
        assert link.not_allowed == 3
        with pytest.raises(AskError, match="is not taken from a gateway"):
            await g.node.system.named(WORKER, w.home.node).ask(
                OrdersDifference(str(g.home.node), 1, 1), timeout=5
            )


async def test_reports_are_taken_only_in_the_senders_own_name(tmp_path: Path) -> None:
    async with (
        head(tmp_path / "h") as h,
        member(tmp_path / "w", dials=h.port) as w,
        member(tmp_path / "g", "gateway", dials=h.port) as g,
    ):
        await joined(w)
        await joined(g)
        g.node.transport.dial("127.0.0.1", w.port, "worker")
        await until(lambda: any(up.peer.role == "gateway" for up in w.ups))
        me, other = str(w.home.node), "worker-else"
        replica = ReplicaId("m:vllm", 1, 0, 1)
        assert await heard(w, h, "x", WorkerInventory(me, 1, Inventory())) == ""
        assert "names another node" in await heard(w, h, "x", WorkerInventory(other, 1, Inventory()))
        assert await heard(w, g, "x", ReplicasDifference(me, 1, 1)) == ""
        assert "names another node" in await heard(w, g, "x", ReplicasDifference(other, 1, 1))
        assert await heard(g, w, "x", Withdrawn(str(g.home.node), replica)) == ""
        assert "names another node" in await heard(g, w, "x", Withdrawn("gateway-else", replica))


def test_every_message_between_nodes_says_from_whom_it_is_taken() -> None:
    open_to_all = [name for name, cls in MESSAGES if MESSAGES.sender_rule(cls).roles is None]
    assert open_to_all == []
    for name, cls in MESSAGES:
        roles = MESSAGES.sender_rule(cls).roles or frozenset()
        assert roles <= {"head", "worker", "gateway"}, name


async def test_a_head_that_dials_a_worker_is_refused(tmp_path: Path) -> None:
    async with head(tmp_path / "h") as h, member(tmp_path / "w", dials=h.port) as w:
        await joined(w)
        refused: list[str] = []
        h.node.transport._announce._on_no_link = lambda no_link: refused.append(no_link.reason)
        h.node.transport.dial("127.0.0.1", w.port)
        await until(lambda: refused)
        assert refused[0].endswith("cannot be linked: a head never dials a worker")
        assert [up.peer.outbound for up in w.ups] == [True]


async def test_a_worker_takes_links_from_gateways_only(tmp_path: Path) -> None:
    async with (
        head(tmp_path / "h") as h,
        member(tmp_path / "w", dials=h.port) as w,
        member(tmp_path / "v", dials=h.port) as v,
    ):
        await joined(w)
        await joined(v)
        v.node.transport.dial("127.0.0.1", w.port)
        await until(lambda: "a worker never dials a worker" in v.sentence)
        assert [up.peer.role for up in w.ups] == ["head"]
