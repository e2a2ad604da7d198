"""Writing from the head's actor: in order, and going on while the store is away."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread
from structlog.testing import capture_logs
from tests.serving.kit import until

from sllm_actors.serving.store import writer as module
from sllm_actors.serving.store.database import sqlite_url
from sllm_actors.serving.store.journal import JOURNAL_CHUNK
from sllm_actors.serving.store.problem import StoreProblem
from sllm_actors.serving.store.records import (
    DeploymentRecord,
    JournalEntry,
    NodeRecord,
    RevisionRecord,
    StoredState,
)
from sllm_actors.serving.store.store import Store
from sllm_actors.serving.store.writer import StoreWriter
from sllm_actors.serving.store.writes import (
    AddJournal,
    DropDeletion,
    DropNode,
    DropRevision,
    PutDeployment,
    PutNode,
    PutRevision,
    RaiseEpoch,
    RemoveDeployment,
    StoreWrite,
)

pytestmark = pytest.mark.anyio

DOCUMENT = '{"model": "m", "backend": "command", "backend_config": {"command": ["x"]}}'


def deployment(reserved: int = 0) -> PutDeployment:
    return PutDeployment(DeploymentRecord("u", "m:command", 1.0, reserved=reserved))


REVISION = PutRevision(RevisionRecord("u", 1, DOCUMENT, 1.0))


class Watched:
    """A real store that a test can take away, and that tells what it was given."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.away = False
        self.refused: StoreWrite | None = None
        self.given: list[Sequence[StoreWrite]] = []

    def apply(self, writes: Sequence[StoreWrite]) -> None:
        if self.away:
            raise StoreProblem("it is away")
        if self.refused in writes:
            raise StoreProblem("one of them cannot be written")
        self.store.apply(writes)
        if writes:
            self.given.append(writes)

    async def load(self) -> StoredState:
        return await to_thread.run_sync(self.store.load)


@asynccontextmanager
async def writing(path: Path) -> AsyncIterator[tuple[StoreWriter, Watched, dict[str, int]]]:
    store = await to_thread.run_sync(Store.open, sqlite_url(path / "state.db"))
    watched, reserved = Watched(store), dict[str, int]()
    try:
        writer = StoreWriter(watched, reserved.update)  # type: ignore[arg-type]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.run)
            yield writer, watched, reserved
            tasks.cancel_scope.cancel()
    finally:
        await to_thread.run_sync(store.close)


async def test_what_is_committed_is_on_disk_and_what_waited_goes_before_it(tmp_path: Path) -> None:
    async with writing(tmp_path) as (writer, watched, _):
        writer.behind([deployment(), REVISION])
        await writer.commit([PutNode(NodeRecord("w", "worker"))])
        (all_of_it,) = watched.given
        assert list(all_of_it) == [deployment(), REVISION, PutNode(NodeRecord("w", "worker"))]
        assert not writer.waits
        assert [each.uid for each in (await watched.load()).deployments] == ["u"]


async def test_what_was_decided_is_written_soon_and_numbers_are_confirmed_after_that(tmp_path: Path) -> None:
    async with writing(tmp_path) as (writer, watched, reserved):
        writer.behind([deployment(64), REVISION], {"u": 64})
        await until(lambda: reserved)
        assert reserved == {"u": 64}
        assert (await watched.load()).deployments[0].reserved == 64


async def test_while_the_store_is_away_the_last_word_on_each_thing_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN_AFTER", 0.01)
    async with writing(tmp_path) as (writer, watched, reserved):
        watched.away = True
        writer.behind([deployment(1), REVISION], {"u": 1})
        await anyio.sleep(0.03)
        for number in range(2, 50):
            writer.behind([deployment(number)], {"u": number})
        with pytest.raises(StoreProblem):
            await writer.commit([RaiseEpoch(7)])
        assert writer.waits
        assert reserved == {}
        watched.away = False
        await until(lambda: reserved)
        assert reserved == {"u": 49}
        state = await watched.load()
        assert (state.deployments[0].reserved, state.epoch) == (49, 0)
        assert len(watched.given[0]) == 2, "one for each thing"


async def test_what_is_removed_needs_none_of_its_earlier_writes(tmp_path: Path) -> None:
    async with writing(tmp_path) as (writer, watched, _):
        await writer.commit([deployment(), REVISION])
        watched.away = True
        await anyio.lowlevel.checkpoint()
        writer.behind([PutRevision(RevisionRecord("u", 2, DOCUMENT, 1.0)), DropRevision("u", 1)])
        writer.behind([DropNode("w"), DropDeletion("x"), RemoveDeployment("u", 3.0)])
        watched.away = False
        await writer.commit([])
        assert list(watched.given[-1]) == [DropNode("w"), DropDeletion("x"), RemoveDeployment("u", 3.0)]
        state = await watched.load()
        assert (state.deployments, [each.uid for each in state.deletions]) == ((), ["u"])


def entry(number: int) -> JournalEntry:
    return JournalEntry(float(number), "m", "event", "a sentence", number)


async def test_the_journal_follows_and_is_bounded_while_the_store_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN_AFTER", 0.01)
    monkeypatch.setattr(module, "MOST_ENTRIES", 3)
    async with writing(tmp_path) as (writer, watched, _):
        watched.away = True
        for number in range(9):
            writer.note([entry(number)])
            await anyio.sleep(0.005)
        watched.away = False
        await until(lambda: any(isinstance(each[0], AddJournal) for each in watched.given))
        await until(lambda: not writer.waits)
        lost, *kept = await to_thread.run_sync(watched.store.journal, 10)
        assert kept == [entry(6), entry(7), entry(8)]
        assert (lost.number, lost.kind) == (5, "journal.lost")
        assert lost.sentence.startswith("6 entries up to here are lost")
        writer.note([entry(9)])
        await until(lambda: not writer.waits)
        assert len(await to_thread.run_sync(watched.store.journal, 10)) == 5, "it is said once"


async def test_what_is_lost_while_lost_entries_are_told_is_told_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN_AFTER", 0.01)
    monkeypatch.setattr(module, "MOST_ENTRIES", 3)
    async with writing(tmp_path) as (writer, watched, _):
        apply, begun, goes_on = watched.apply, threading.Event(), threading.Event()

        def slow(writes: Sequence[StoreWrite]) -> None:
            if writes:
                begun.set()
                goes_on.wait(60)
            apply(writes)

        watched.apply = slow  # type: ignore[method-assign]
        writer.note([entry(number) for number in range(5)])
        await until(begun.is_set)
        writer.note([entry(number) for number in range(5, 12)])
        goes_on.set()
        await until(lambda: not writer.waits)
        found = await to_thread.run_sync(watched.store.journal, 20)
        told = [(each.number, each.sentence.split()[0]) for each in found if each.kind == "journal.lost"]
        assert told == [(1, "2"), (8, "4")]
        assert [each.number for each in found] == [1, 2, 3, 4, 8, 9, 10, 11]


async def test_a_burst_of_entries_is_written_whole_in_chunks(tmp_path: Path) -> None:
    many = 2 * JOURNAL_CHUNK + 5
    async with writing(tmp_path) as (writer, watched, _):
        writer.note([entry(number) for number in range(1, many + 1)])
        await until(lambda: not writer.waits)
        chunks = [each[0] for each in watched.given]
        assert [len(each.entries) for each in chunks if isinstance(each, AddJournal)] == [1000, 1000, 5]
        found = await to_thread.run_sync(watched.store.journal, many)
        assert [each.number for each in found] == list(range(1, many + 1))


async def test_what_is_noted_soon_after_a_write_is_written_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GATHER", 60.0)
    async with writing(tmp_path) as (writer, watched, _):
        writer.note([entry(0)])
        await until(lambda: not writer.waits)
        for number in range(1, 5):
            writer.note([entry(number)])
            await anyio.lowlevel.checkpoint()
        assert writer.waits
        await writer.write_all()
        written = [each for chunk in watched.given for each in chunk]
        assert written == [AddJournal((entry(0),)), AddJournal(tuple(map(entry, range(1, 5))))]


async def test_how_many_entries_did_not_get_into_the_log_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ENTRIES", 3)
    with capture_logs() as lines:
        async with writing(tmp_path) as (writer, _, _):
            writer.note([entry(number) for number in range(5)])
            await until(lambda: not writer.waits)
    assert [line["entries"] for line in lines if line["event"] == "journal.not_logged"] == [2]
    assert sum(line["event"] == "event" for line in lines) == 3


async def test_a_writer_that_is_cancelled_in_a_write_keeps_what_waited(tmp_path: Path) -> None:
    async with writing(tmp_path) as (writer, watched, _):
        writer.behind([deployment(), REVISION])
        with anyio.CancelScope() as scope:
            scope.cancel()
            await writer.commit([])
        await writer.commit([])
        assert [each.uid for each in (await watched.load()).deployments] == ["u"]


async def test_what_many_commit_at_a_time_is_one_transaction(tmp_path: Path) -> None:
    async with writing(tmp_path) as (writer, watched, _):
        async with anyio.create_task_group() as committing:
            for number in range(30):
                committing.start_soon(writer.commit, [PutNode(NodeRecord(f"w{number}", "worker"))])
        assert len(watched.given) <= 2, "the first one may go alone"
        assert len((await watched.load()).nodes) == 30


async def test_one_that_cannot_be_written_does_not_spoil_the_others(tmp_path: Path) -> None:
    async with writing(tmp_path) as (writer, watched, _):
        watched.refused = PutNode(NodeRecord("w3", "worker"))
        failed = []

        async def commit(node: str) -> None:
            try:
                await writer.commit([PutNode(NodeRecord(node, "worker"))])
            except StoreProblem as problem:
                failed.append((node, str(problem)))

        async with anyio.create_task_group() as committing:
            for number in range(6):
                committing.start_soon(commit, f"w{number}")
        assert failed == [("w3", "one of them cannot be written")]
        assert [each.id for each in (await watched.load()).nodes] == ["w0", "w1", "w2", "w4", "w5"]


async def test_what_is_noted_is_logged_once_whether_or_not_the_store_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN_AFTER", 0.01)
    with capture_logs() as lines:
        async with writing(tmp_path) as (writer, watched, _):
            watched.away = True
            writer.note([JournalEntry(1.0, "m", "replica.placed", "it goes to w1")])
            await until(lambda: any(line["event"] == "store.away" for line in lines) or not writer.waits)
            watched.away = False
            await until(lambda: not writer.waits)
            writer.note([JournalEntry(2.0, "m", "replica.stopped", "it is not wanted")])
    told = [(line["event"], line["subject"], line["sentence"]) for line in lines if "subject" in line]
    assert told == [
        ("replica.placed", "m", "it goes to w1"),
        ("replica.stopped", "m", "it is not wanted"),
    ], "also what was noted last"
