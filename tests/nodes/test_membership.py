"""How a node gets into its cluster, and stays in it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import ByteStream, SocketAttribute

from sllm_actors.cluster.join import ClusterInfo
from sllm_actors.nodes import membership as membership_module
from sllm_actors.nodes.membership import Membership
from sllm_actors.nodes.settings import GatewayNodeSettings
from sllm_actors.transport import Dial, NoLink

pytestmark = pytest.mark.anyio
FOREVER = 3600.0


class RecordedDial(Dial):
    """A dial that goes nowhere, and tells what became of it."""

    def __init__(self, dials: list[str], host: str, port: int, role: str) -> None:
        self.dials, self.at = dials, f"{role} at {host}:{port}"
        dials.append(self.at)

    def close(self) -> None:
        self.dials.remove(self.at)


def membership(folder: Path, *, cached: bool, head_port: int = 1) -> Membership:
    settings = GatewayNodeSettings(name="g", data_dir=folder, head_host="127.0.0.1", head_port=head_port)
    return Membership(settings, ClusterInfo("c", 8001), cached=cached, path=folder / "not" / "there")


async def test_a_node_that_was_in_before_does_not_wait_for_its_head(tmp_path: Path) -> None:
    with anyio.fail_after(60):
        await membership(tmp_path, cached=True).wait_to_join(FOREVER)


@pytest.mark.allow_blocking
async def test_a_new_node_waits_until_it_is_let_in_or_the_time_is_over(tmp_path: Path) -> None:
    new = membership(tmp_path, cached=False)
    with anyio.fail_after(60):
        await new.wait_to_join(0.01)
        assert not new.joined
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(new.wait_to_join, FOREVER)
            await anyio.lowlevel.checkpoint()
            new.on_joined()
    assert new.joined


@pytest.mark.allow_blocking
@pytest.mark.parametrize(("cluster", "port"), [("c", 9001), ("another", 8001)])
async def test_a_running_node_dials_a_head_of_its_cluster_that_is_at_another_port_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: str, port: int
) -> None:
    monkeypatch.setattr(membership_module, "TELL_AFTER", 0.01)
    asked: list[None] = []
    enough = anyio.Event()

    async def answer(stream: ByteStream) -> None:
        async with stream:
            await stream.receive()
            body = json.dumps({"cluster": cluster, "transport_port": 9001}).encode()
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            asked.append(None)
        if len(asked) == 3:
            enough.set()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        head_port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - anyio's extra
        node = membership(tmp_path, cached=False, head_port=head_port)
        dials: list[str] = []
        node.dial_head(partial(RecordedDial, dials))
        tasks.start_soon(node.watch)
        await anyio.wait_all_tasks_blocked()
        node.on_joined()
        assert dials == ["head at 127.0.0.1:8001"]
        node.on_no_link(NoLink("127.0.0.1:8001", "connection refused", refused=False))
        with anyio.fail_after(60):
            await enough.wait()
        assert dials == [f"head at 127.0.0.1:{port}"]
        tasks.cancel_scope.cancel()
