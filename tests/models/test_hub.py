"""Models from a hub: the real downloader against a server that speaks the hub's file API."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from tests.children import child
from tests.engines.kit import alive, until

from sllm_actors.models.errors import SourceProblem
from sllm_actors.models.folder import USE, ModelFolder
from sllm_actors.models.hub import PROGRAM, Hub
from sllm_actors.models.store import ModelStore

from .hub_server import HubServer, run_hub

pytestmark = pytest.mark.anyio

GGUF = random.Random(1).randbytes(6_000_000)
CHECKPOINT = {
    "config.json": b"{}",
    "tokenizer.json": b"{}" * 1000,
    "model.safetensors": random.Random(2).randbytes(300_000),
    "pytorch_model.bin": b"x" * 300_000,
    "onnx/model.onnx": b"x" * 300_000,
    "README.md": b"# tiny",
}


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    """Run on the loop of production only: each test starts programs."""
    return ("asyncio", {"use_uvloop": True})


@pytest.fixture
def server() -> Iterator[HubServer]:
    with run_hub() as running:
        running.put("org/tiny", {"tiny.gguf": GGUF, "README.md": b"# tiny"})
        yield running


def environment(server: HubServer, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "HF_ENDPOINT": server.url, **more}


@pytest.fixture
def store(server: HubServer, tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models", Hub(environment(server)))


async def bring(store: ModelStore, source: str, backend: str = "llamacpp") -> tuple[Path, list[str]]:
    said: list[str] = []
    async with store.lend(backend, source, str, said.append) as local:
        return Path(local), said


async def problem(store: ModelStore, source: str, backend: str = "llamacpp") -> str:
    with pytest.raises(SourceProblem) as caught:
        await bring(store, source, backend)
    assert downloaders() == []
    return str(caught.value)


async def test_a_folder_that_the_worker_may_not_write_to_is_named_with_the_remedy(store: ModelStore) -> None:
    folder = Path("/sys/models")  # where nobody may make one
    assert re.fullmatch(
        rf"{folder} cannot be written by the user of this worker \({os.geteuid()}\): .*;"
        rf" give {folder} to that user, or name another folder with --storage-path",
        await problem(ModelStore(folder, store.hub), "hf:org/tiny"),
    )


def downloaders() -> list[int]:
    """Return the downloader programs that run for this process."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            ours = b"hub_download.py" in (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if ours and parent == os.getpid():
            found.append(int(entry.name))
    return found


def partial_size(store: ModelStore) -> int:
    return sum(path.stat().st_size for path in store.folder.glob("*/partial/*"))


@pytest.mark.slow
async def test_the_file_comes_and_is_used_from_then_on_without_the_hub(
    store: ModelStore, server: HubServer
) -> None:
    path, said = await bring(store, "hf:org/tiny")
    assert path.read_bytes() == GGUF
    assert said[0] == f"asking {server.url} for org/tiny"
    assert said[-1] == "downloading org/tiny: 100 % of 6.0 MB"
    assert server.gets() == [f"GET /org/tiny/resolve/{server.branches['org/tiny']['main']}/tiny.gguf"]

    away = ModelStore(store.folder, Hub({**environment(server), "HF_ENDPOINT": "http://127.0.0.1:9"}))
    assert await bring(away, "hf:org/tiny") == (path, [])
    assert await anyio.to_thread.run_sync(away.find, "llamacpp", "hf:org/tiny") == str(path)


@pytest.mark.slow
async def test_an_engine_of_transformers_models_gets_a_folder_of_what_it_reads(
    store: ModelStore, server: HubServer
) -> None:
    server.put("org/small", CHECKPOINT)
    folder, _ = await bring(store, "hf:org/small", "vllm")
    found = sorted(path.name for path in folder.rglob("*"))
    assert found == ["config.json", "model.safetensors", "tokenizer.json"]


@pytest.mark.slow
async def test_a_source_means_the_commit_that_it_was_when_it_was_first_asked_for(
    store: ModelStore, server: HubServer
) -> None:
    await bring(store, "hf:org/tiny")
    old = server.branches["org/tiny"]["main"]
    server.put("org/tiny", {"tiny.gguf": b"new" * 1000, "extra.gguf": b"x"})
    path, _ = await bring(store, "hf:org/tiny")
    assert path.read_bytes() == GGUF
    path, _ = await bring(store, f"hf:org/tiny@{old}")
    assert path.read_bytes() == GGUF
    path, _ = await bring(store, "hf:org/tiny@{}:extra.gguf".format(server.branches["org/tiny"]["main"]))
    assert path.read_bytes() == b"x"


@pytest.mark.slow
async def test_a_cut_connection_is_gone_on_with_where_it_was_cut(
    store: ModelStore, server: HubServer
) -> None:
    server.cut_after += [2_500_000, 1_200_000]
    path, _ = await bring(store, "hf:org/tiny")
    assert path.read_bytes() == GGUF
    assert server.ranges() == ["bytes=2097152-", "bytes=3145728-"]


@pytest.mark.slow
async def test_a_killed_downloader_leaves_what_the_next_one_goes_on_with(
    store: ModelStore, server: HubServer
) -> None:
    server.step_delay = 0.02
    async with anyio.create_task_group() as group:

        async def kill() -> None:
            await until(lambda: partial_size(store) > 1_000_000)
            os.kill(downloaders()[0], signal.SIGKILL)

        group.start_soon(kill)
        assert await problem(store, "hf:org/tiny") == "the download of hf:org/tiny was lost: it was killed"
    had = partial_size(store)
    server.step_delay = 0.0
    path, _ = await bring(store, "hf:org/tiny")
    assert path.read_bytes() == GGUF
    assert server.ranges() == [f"bytes={had}-"]
    assert len([path for path, _ in server.asked if "/api/" in path]) == 1


@pytest.mark.slow
async def test_a_cancelled_download_leaves_no_process_and_goes_on_later(
    store: ModelStore, server: HubServer
) -> None:
    server.step_delay = 0.02
    async with anyio.create_task_group() as group:
        group.start_soon(bring, store, "hf:org/tiny")
        await until(lambda: partial_size(store) > 1_000_000)
        (pid,) = downloaders()
        group.cancel_scope.cancel()
    assert not alive(pid)
    server.step_delay = 0.0
    path, _ = await bring(store, "hf:org/tiny")
    assert path.read_bytes() == GGUF
    assert len(server.ranges()) == 1


@pytest.mark.slow
async def test_a_hub_that_sends_everything_again_costs_time_only(
    store: ModelStore, server: HubServer
) -> None:
    server.cut_after += [2_500_000]
    server.ranged = False
    path, _ = await bring(store, "hf:org/tiny")
    assert path.read_bytes() == GGUF
    assert len(server.gets()) == 2


@pytest.mark.slow
def test_a_file_that_the_hub_does_not_serve_by_http_comes_whole_and_once(
    server: HubServer, tmp_path: Path
) -> None:
    small = tmp_path / "small.py"  # the same program, to which a small file is a large one
    small.write_text(PROGRAM.read_text().replace("MOST_BY_HTTP = 50_000_000_000", "MOST_BY_HTTP = 5_000_000"))
    (commit,) = server.commits["org/tiny"]
    file = ("tiny.gguf", len(GGUF), hashlib.sha256(GGUF).hexdigest())
    job = {"do": "fetch", "repo": "org/tiny", "commit": commit, "files": [file]}
    folders = {"folder": str(tmp_path / "files"), "partial": str(tmp_path / "partial")}
    argv = [sys.executable, "-I", str(small), json.dumps(job | folders)]
    with child(argv, stdin=-1, stdout=-1, text=True, env=environment(server)) as program:
        assert program.stdout is not None
        said = program.stdout.read()
    assert '"fetched"' in said
    assert (tmp_path / "files" / "tiny.gguf").read_bytes() == GGUF
    assert list((tmp_path / "partial").iterdir()) == []


@pytest.mark.slow
async def test_two_replicas_share_one_download_and_its_progress(store: ModelStore, server: HubServer) -> None:
    server.step_delay = 0.01
    results: list[tuple[Path, list[str]]] = []

    async def one() -> None:
        results.append(await bring(store, "hf:org/tiny"))

    async with anyio.create_task_group() as group:
        group.start_soon(one)
        await until(lambda: partial_size(store) > 0)
        group.start_soon(one)
        await until(lambda: downloaders())
        assert len(downloaders()) == 1
    assert len(server.gets("tiny.gguf")) == 1
    assert all(path.read_bytes() == GGUF and "downloading" in said[-1] for path, said in results)


@pytest.mark.slow
async def test_when_the_replica_that_downloads_is_stopped_the_one_that_waits_goes_on(
    store: ModelStore, server: HubServer
) -> None:
    server.step_delay = 0.02
    stopped = anyio.CancelScope()

    async def first() -> None:
        with stopped:
            await bring(store, "hf:org/tiny")

    async with anyio.create_task_group() as group:
        group.start_soon(first)
        await until(lambda: partial_size(store) > 500_000)
        second: list[Path] = []

        async def wait() -> None:
            second.append((await bring(store, "hf:org/tiny"))[0])

        group.start_soon(wait)
        await anyio.sleep(0.1)
        stopped.cancel()
        server.step_delay = 0.0
    assert second[0].read_bytes() == GGUF
    assert len(server.ranges()) == 1


@pytest.mark.slow
async def test_two_workers_on_one_storage_download_once(store: ModelStore, server: HubServer) -> None:
    server.step_delay = 0.01
    other = ModelStore(store.folder, store.hub)
    said: list[list[str]] = []

    async def one(where: ModelStore) -> None:
        said.append((await bring(where, "hf:org/tiny"))[1])

    async with anyio.create_task_group() as group:
        group.start_soon(one, store)
        await until(lambda: partial_size(store) > 0)
        group.start_soon(one, other)
    assert said[1] == ["another worker brings it into the same storage"]
    assert len(server.gets("tiny.gguf")) == 1


@pytest.mark.slow
async def test_a_file_that_comes_damaged_is_not_kept(store: ModelStore, server: HubServer) -> None:
    server.damage = True
    assert "tiny.gguf of org/tiny came damaged" in await problem(store, "hf:org/tiny")
    server.damage = False
    path, _ = await bring(store, "hf:org/tiny")
    assert path.read_bytes() == GGUF


@pytest.mark.slow
async def test_a_model_that_does_not_fit_on_the_disk_is_refused_before_it_comes(
    store: ModelStore, server: HubServer
) -> None:
    small = ModelStore(store.folder, store.hub, free=lambda _: 5_000_000)
    assert await problem(small, "hf:org/tiny") == (
        f"hf:org/tiny needs 6.0 MB more in {store.folder}, which has 5.0 MB free: make room there, or start"
        " the worker with another --storage-path"
    )
    assert server.gets() == []


@pytest.fixture
def full_soon(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be made here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
@pytest.mark.allow_blocking
async def test_a_disk_that_becomes_full_is_said_and_the_download_goes_on_when_there_is_room(
    store: ModelStore, server: HubServer, full_soon: Path
) -> None:
    store = ModelStore(full_soon, store.hub, free=lambda _: 2**40)  # somebody else fills it meanwhile
    sentence = await problem(store, "hf:org/tiny")
    assert sentence == "the disk of this worker became full while hf:org/tiny came: make room on it"
    await anyio.run_process(["mount", "-o", "remount,size=32m", str(full_soon)])
    path, _ = await bring(store, "hf:org/tiny")
    assert path.read_bytes() == GGUF
    assert any(int(each.removeprefix("bytes=").partition("-")[0]) > 1_000_000 for each in server.ranges())


@pytest.mark.slow
async def test_a_gated_model_wants_the_token_of_the_worker(store: ModelStore, server: HubServer) -> None:
    server.gated["org/tiny"] = "hf_secret"
    assert await problem(store, "hf:org/tiny") == (
        f"org/tiny is gated: accept its terms at {server.url}/org/tiny, and start the worker with"
        " the HF_TOKEN of that account"
    )
    allowed = ModelStore(store.folder, Hub(environment(server, HF_TOKEN="hf_secret")))
    path, _ = await bring(allowed, "hf:org/tiny")
    assert path.read_bytes() == GGUF
    assert "hf_secret" not in repr(allowed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "backend", "said"),
    [
        ("hf:org/none", "llamacpp", "{url} has no org/none, or it is private: check its name"),
        ("hf:org/tiny@v2", "llamacpp", "org/tiny has no revision v2: name a branch, tag or commit"),
        ("hf:org/tiny:x.gguf", "llamacpp", "hf:org/tiny:x.gguf does not exist; the repository has tiny.gguf"),
        ("hf:org/tiny", "vllm", "hf:org/tiny has GGUF files only: deploy it with --backend llamacpp"),
        (
            "hf:a/b/c",
            "llamacpp",
            "hf:a/b/c does not name a model on a hub: write hf:ORG/NAME[@REVISION][:FILE]",
        ),
    ],
)
async def test_what_is_wrong_with_a_source_is_said_in_a_sentence(
    store: ModelStore, server: HubServer, source: str, backend: str, said: str
) -> None:
    assert (await problem(store, source, backend)).startswith(said.format(url=server.url))
    assert server.gets() == []


@pytest.mark.slow
async def test_a_hub_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    away = Hub({"PATH": os.environ["PATH"], "HF_ENDPOINT": "http://user:password@127.0.0.1:9"})
    assert await problem(ModelStore(tmp_path, away), "hf:org/tiny") == (
        "http://127.0.0.1:9 cannot be reached from this worker ([Errno 111] Connection refused): check its"
        " network, or HF_ENDPOINT"
    )


@pytest.mark.slow
async def test_a_model_is_in_use_while_it_is_lent(store: ModelStore) -> None:
    async with store.lend("llamacpp", "hf:org/tiny", str, lambda _: None):
        folder = ModelFolder(store.folder / "org--tiny@main")
        assert not await is_free(folder)
        async with store.lend("llamacpp", "hf:org/tiny", str, lambda _: None):
            pass
        assert not await is_free(folder)
    assert await is_free(folder)


async def is_free(folder: ModelFolder) -> bool:
    lock = await anyio.to_thread.run_sync(folder.lock, USE, fcntl.LOCK_EX)
    if lock is None:
        return False
    os.close(lock)
    return True


@pytest.mark.slow
async def test_a_model_that_nobody_uses_makes_room_for_another_within_the_quota(
    store: ModelStore, server: HubServer
) -> None:
    server.put("org/other", {"other.gguf": GGUF[::-1]})
    server.put("org/third", {"third.gguf": GGUF[1:]})
    tight = ModelStore(store.folder, store.hub, quota=13_000_000)
    await bring(tight, "hf:org/other")
    async with tight.lend("llamacpp", "hf:org/tiny", str, lambda _: None) as used:
        await bring(tight, "hf:org/third")
        assert await anyio.Path(used).is_file()
        kept = sorted(path.name for path in tight.folder.glob("[!.]*"))
        assert kept == ["org--third@main", "org--tiny@main"]
        tighter = ModelStore(store.folder, store.hub, quota=10_000_000)
        assert "give the worker a larger --storage-quota" in await problem(tighter, "hf:org/other")
