"""What outlived both its worker and its leash is ended by the next worker, and nobody else is."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from attrs import evolve
from tests.children import child
from tests.engines.kit import alive, fake_plan, leash_of, paths_in, remove, shared_memory, until

from sllm_actors.engines.environment import MARKER
from sllm_actors.engines.host import open_host
from sllm_actors.engines.ownership import leases as leases_module
from sllm_actors.engines.ownership.engine_process import EngineProcess
from sllm_actors.engines.ownership.leases import Lease, Leases
from sllm_actors.engines.ownership.procfs import RECORD, start_time

WORKER = """
import sys, anyio
from pathlib import Path
from sllm_actors.engines.ownership.leases import Leases
from sllm_actors.engines.ownership.engine_process import EngineProcess
from tests.engines.kit import fake_plan

async def main():
    folder = Path(sys.argv[1])
    plan = fake_plan(folder, "--escapee", str(folder / "pid"), "--shared-memory", sys.argv[2])
    async with EngineProcess(plan, leases=Leases(folder / "leases")) as engine:
        print(engine.pid, flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""

SYS_EXIT = 60 if platform.machine() == "x86_64" else 93
"""Ends one thread, not its process."""


@pytest.fixture
def book(folder: Path) -> Leases:
    (folder / "leases").mkdir()
    return Leases(folder / "leases")


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    with child([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True) as sleeper:
        yield sleeper


def lease_of(folder: Path, book: Leases, **more: object) -> Lease:
    paths = paths_in(folder)
    lease = Lease("mark", book.boot, 0.0, str(paths.socket), str(paths.tmpdir), str(paths.log))
    return evolve(lease, **more)  # type: ignore[arg-type]


def records(book: Leases) -> list[str]:
    return sorted(path.name for path in book.folder.iterdir())


@pytest.mark.slow
@pytest.mark.anyio
async def test_an_engine_that_outlives_worker_and_leash_is_swept_with_all_it_left(
    folder: Path, book: Leases
) -> None:
    root = Path(__file__).parents[3]
    segment = shared_memory("swept")
    command = [sys.executable, "-c", WORKER, str(folder), segment.name]
    async with await anyio.open_process(command, cwd=root, stderr=None) as worker:
        assert worker.stdout is not None
        pid = int(await worker.stdout.receive())
        plan = fake_plan(folder)
        await until(plan.paths.socket.exists)
        await until(segment.exists)
        escapee, leash = int((folder / "pid").read_text()), leash_of(pid)
        worker.send_signal(signal.SIGSTOP)
        os.kill(leash, signal.SIGKILL)
        worker.kill()
    await until(lambda: not alive(leash))
    assert alive(pid)
    assert alive(escapee)
    try:
        assert await anyio.to_thread.run_sync(book.sweep) == ()
        assert not alive(pid)
        assert not alive(escapee)
        assert not plan.paths.socket.exists()
        assert not plan.paths.tmpdir.exists()
        assert not segment.exists()
        assert records(book) == []
    finally:
        remove(segment)


def test_shared_memory_that_outlived_its_users_is_removed_where_the_leash_has_written_it_down(
    folder: Path, book: Leases
) -> None:
    lease, ours, strange = lease_of(folder, book), shared_memory("written"), shared_memory("unwritten")
    tmpdir = lease.paths.tmpdir
    tmpdir.mkdir(parents=True)
    try:
        for segment in (ours, strange):
            segment.write_bytes(b"x")
        (tmpdir / RECORD).write_text(f"\u2026\n-1\n{ours.stat().st_ino}\n{'9' * 40}\n")
        book.write(lease)
        assert book.sweep() == ()
        assert not ours.exists()
        assert strange.exists()
        assert not tmpdir.exists()
    finally:
        remove(ours)
        remove(strange)


@pytest.mark.anyio
async def test_an_engine_is_on_record_exactly_as_long_as_something_of_it_is_left(
    folder: Path, book: Leases
) -> None:
    plan = fake_plan(folder)
    async with EngineProcess(plan, leases=book) as engine:
        (name,) = records(book)
        record = json.loads((book.folder / name).read_text())
        began = await anyio.to_thread.run_sync(start_time, engine.pid)
        assert (record["pid"], record["began"]) == (engine.pid, began)
        assert record["leash"] == leash_of(engine.pid)
        assert record["marker"] == plan.env[MARKER]
    assert records(book) == []


@pytest.mark.anyio
async def test_an_engine_that_cannot_be_put_on_record_is_not_started(folder: Path, book: Leases) -> None:
    plan = fake_plan(folder)
    with pytest.raises(FileNotFoundError):
        async with EngineProcess(plan, leases=evolve(book, folder=folder / "nowhere")):
            raise AssertionError
    assert not plan.paths.log.exists()


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_leash_that_still_lives_is_left_to_its_work(folder: Path, book: Leases) -> None:
    plan = fake_plan(folder)
    async with EngineProcess(plan, leases=book) as engine, anyio.create_task_group() as group:
        leash = leash_of(engine.pid)
        await until(plan.paths.socket.exists)
        group.start_soon(anyio.to_thread.run_sync, book.sweep)
        await anyio.sleep(0.2)
        assert alive(engine.pid)
        os.kill(leash, signal.SIGTERM)  # as it ends by itself when its worker is gone
        assert str(await engine.wait()) == "signal SIGTERM"
    assert records(book) == []


def test_a_leash_that_does_not_come_to_an_end_is_killed_too(
    folder: Path, book: Leases, bystander: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_module, "LEASH_BUDGET", 0.1)
    book.write(lease_of(folder, book, leash=bystander.pid, leash_began=start_time(bystander.pid)))
    assert book.sweep() == ()
    assert bystander.wait(60) == -signal.SIGKILL


@pytest.mark.parametrize("text", ["", "{", "[]", '{"marker": "mark"}', '{"marker": "other", "boot": 3}'])
def test_a_torn_record_is_put_aside(book: Leases, text: str) -> None:
    (book.folder / "mark.json").write_text(text)
    (book.folder / ".mark.json.xyz.new").write_text(text)
    assert book.sweep() == ()
    assert records(book) == ["mark.json.damaged"]
    assert book.sweep() == ()


@pytest.mark.parametrize(
    "paths", [("", ""), ("/a/mark.sock", ""), ("/a/mark.sock", "/"), ("mark.sock", "mark"), ("/a/b", "/a/c")]
)
def test_a_record_that_names_files_of_others_removes_none_of_them(
    folder: Path, book: Leases, monkeypatch: pytest.MonkeyPatch, paths: tuple[str, str]
) -> None:
    monkeypatch.chdir(folder)
    (folder / "mark").mkdir()
    book.write(lease_of(folder, book, socket=paths[0], tmpdir=paths[1]))
    assert book.sweep() == ()
    assert records(book) == ["mark.json.damaged"]
    assert (folder / "mark").is_dir()


def test_an_engine_whose_record_is_damaged_is_ended_by_its_mark(
    folder: Path, book: Leases, bystander: subprocess.Popen[bytes]
) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(command, env={MARKER: "mark.sock"}, start_new_session=True) as engine:
        (book.folder / "mark.sock.json").write_text('{"marker": "mark.so')
        assert book.sweep() == ()
        assert engine.wait(60) == -signal.SIGKILL
    assert alive(bystander.pid)


def test_a_record_of_another_boot_names_no_process_here(
    folder: Path, book: Leases, bystander: subprocess.Popen[bytes]
) -> None:
    began = start_time(bystander.pid)
    lease = lease_of(folder, book, boot="another", pid=bystander.pid, began=began)
    lease.paths.socket.touch()
    book.write(lease)
    assert book.sweep() == ()
    assert alive(bystander.pid)
    assert not lease.paths.socket.exists()
    assert records(book) == []


def test_a_later_process_of_the_same_number_is_spared(
    folder: Path, book: Leases, bystander: subprocess.Popen[bytes]
) -> None:
    book.write(lease_of(folder, book, pid=bystander.pid, began=start_time(bystander.pid) - 1))
    assert book.sweep() == ()
    assert alive(bystander.pid)
    assert records(book) == []


def test_a_process_whose_first_thread_has_ended_is_not_taken_for_dead(folder: Path, book: Leases) -> None:
    script = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        f"ctypes.CDLL(None).syscall({SYS_EXIT}, 0)\n"
    )
    with child([sys.executable, "-c", script], start_new_session=True) as engine:
        began = start_time(engine.pid)
        while alive(engine.pid):
            time.sleep(0.005)
        book.write(lease_of(folder, book, pid=engine.pid, began=began))
        assert engine.poll() is None
        assert book.sweep() == ()
        assert engine.wait(60) == -signal.SIGKILL


def test_what_cannot_be_killed_stays_on_record(
    folder: Path, book: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_module, "kill_once", lambda *_: 1)
    monkeypatch.setattr(leases_module, "LEASH_BUDGET", 0.0)
    monkeypatch.setattr(leases_module, "KILL_BUDGET", 0.1)
    lease = lease_of(folder, book, gpus=("GPU-1",))
    book.write(lease)
    assert book.sweep() == (lease,)
    assert records(book) == ["mark.json"]


def test_a_worker_sweeps_when_it_opens_its_host(tmp_path: Path) -> None:
    folder = tmp_path / "leases"
    folder.mkdir(mode=0o700)
    (folder / "torn.json").write_text("{")
    open_host(tmp_path)
    assert [each.name for each in folder.iterdir()] == ["torn.json.damaged"]
