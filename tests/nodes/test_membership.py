"""How long a node waits until its head has let it in for the first time."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from sllm_actors.cluster.join import ClusterInfo
from sllm_actors.nodes.membership import Membership
from sllm_actors.nodes.settings import GatewayNodeSettings

pytestmark = pytest.mark.anyio
FOREVER = 3600.0


def membership(folder: Path, *, cached: bool) -> Membership:
    settings = GatewayNodeSettings(name="g", data_dir=folder, head_host="127.0.0.1", head_port=1)
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
