"""Writing to the store from the head's actor: in threads, in order, and going on while the store is away."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final, NoReturn

import anyio
import structlog
from anyio import to_thread
from attrs import define, evolve, frozen

from .journal import JOURNAL_CHUNK
from .problem import StoreProblem
from .records import JournalEntry
from .store import Store
from .writes import (
    AddJournal,
    DropApiKey,
    DropDeletion,
    DropNode,
    DropNodeKey,
    DropRevision,
    PutApiKey,
    PutDeletion,
    PutDeployment,
    PutMeasured,
    PutNode,
    PutPauses,
    PutRevision,
    RemoveDeployment,
    StoreWrite,
)

log = structlog.get_logger("sllm_actors.store")
journal_log = structlog.get_logger("sllm_actors.journal")

MOST_ENTRIES: Final = 10_000
"""Journal entries that wait at most. Of more, the oldest are lost, and an entry says how many."""

GATHER: Final = 0.02
"""Seconds from one write behind the decisions to the next: what is decided meanwhile is written together."""

AGAIN_AFTER: Final = 2.0
"""Seconds after which a store that failed is tried again."""


@define(eq=False)
class _Promise:
    """Writes that somebody waits for.

    Attributes:
        kept: Whether there is nothing to wait for any more.
        problem: Why they are not written; "" if they are.
    """

    writes: Sequence[StoreWrite]
    kept: bool = False
    problem: str = ""


@frozen
class _Lost:
    """Entries of the journal that will never be in the store.

    Attributes:
        count: How many.
        last: The last one of them.
    """

    count: int
    last: JournalEntry

    @property
    def entry(self) -> JournalEntry:
        """The entry that takes the place of the last one."""
        many = "entry" if self.count == 1 else "entries"
        sentence = f"{self.count} {many} up to here are lost: too many waited while the store was away"
        return JournalEntry(self.last.at, "journal", "journal.lost", sentence, self.last.number)


class StoreWriter:
    """Writes what people were promised at once, and what the head has decided behind it.

    Everything is written in the order in which it was given. Of what waits, a later write about the same
    thing takes the place of the earlier one: so what waits is bounded by how much there is, however long the
    store is away.

    Args:
        store: The open store.
        reserved: Called with the replica numbers, by uid, that were reserved ``behind`` and are on disk now.
    """

    def __init__(self, store: Store, reserved: Callable[[Mapping[str, int]], None]) -> None:
        self._store = store
        self._on_reserved = reserved
        self._turn = anyio.Lock()
        self._behind: dict[Hashable, StoreWrite] = {}
        self._numbers: dict[str, int] = {}
        self._promises: list[_Promise] = []
        self._journal: list[JournalEntry] = []
        self._lost: _Lost | None = None
        self._unlogged: list[JournalEntry] = []
        self._never_logged = 0  # entries that were dropped since the last line was logged
        self._wake = anyio.Event()
        self._writing = False
        self._noting = False

    @property
    def waits(self) -> bool:
        """Whether something is not on disk yet."""
        return bool(self._behind or self._journal or self._writing or self._noting)

    def behind(self, writes: Sequence[StoreWrite], numbers: Mapping[str, int] | None = None) -> None:
        """Write this soon.

        Args:
            writes: What the head has decided.
            numbers: By uid: replica numbers below this are reserved by these writes.
        """
        for write in writes:
            if isinstance(write, RemoveDeployment):
                self._drop_what_goes_with(write.uid)
            self._behind[_about(write)] = write
        self._numbers.update(numbers or {})
        if writes:
            self._wake.set()

    def note(self, entries: Sequence[JournalEntry]) -> None:
        """Add to the journal, and to the log, soon.

        While the disk does not answer, ``MOST_ENTRIES`` of both wait at most. How many did not get into the
        log is logged; in the journal, the place of the last one that is lost is taken by one that says so.

        Args:
            entries: They have their numbers.
        """
        self._unlogged += entries
        self._journal += entries
        surplus = max(0, len(self._unlogged) - MOST_ENTRIES)
        self._never_logged += surplus
        del self._unlogged[:surplus]
        self._bound_journal()
        if entries:
            self._wake.set()

    async def commit(self, writes: Sequence[StoreWrite]) -> None:
        """Write this now, after all that waits; it is on disk when this returns.

        What others commit while a transaction is under way goes into the next one together. What is cancelled
        may be written all the same.

        Raises:
            StoreProblem: It was not written. What waited goes on waiting.
        """
        promise = _Promise(writes)
        self._promises.append(promise)
        async with self._turn:
            if not promise.kept:
                await self._keep_promises()
        if promise.problem:
            raise StoreProblem(promise.problem)

    async def _keep_promises(self) -> None:
        promises, self._promises = self._promises, []
        try:
            problem = await self._write(promises)
            for each in promises:
                # One that cannot be written must not spoil the others.
                each.problem = await self._write([each]) if problem and len(promises) > 1 else problem
                each.kept = True
        except BaseException:
            self._promises = [each for each in promises if not each.kept] + self._promises
            raise

    async def _write(self, promises: Sequence[_Promise]) -> str:
        """Write what waits and these in one transaction; return why that failed, or ""."""
        self._writing = True
        behind, self._behind = self._behind, {}
        numbers, self._numbers = self._numbers, {}
        writes = [write for each in promises for write in each.writes]
        try:
            await to_thread.run_sync(self._store.apply, [*behind.values(), *writes])
        except BaseException as error:
            # To its old place, before what has come meanwhile.
            later, self._behind = self._behind, behind
            self.behind(tuple(later.values()))
            self._numbers = numbers | self._numbers
            if not isinstance(error, StoreProblem):
                raise
            return str(error)
        finally:
            self._writing = False
        if numbers:
            self._on_reserved(numbers)
        return ""

    async def write_all(self) -> None:
        """Write what waits, and the journal.

        Raises:
            StoreProblem: Not all was written. What was not goes on waiting.
        """
        await self.commit(())
        await self._write_journal()

    async def run(self) -> NoReturn:
        """Write what waits, until cancelled; while the store is away, try again and again."""
        try:
            await self._run()
        finally:
            with anyio.CancelScope(shield=True):
                await self._write_log()

    async def _run(self) -> NoReturn:
        said = ""
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            await self._write_log()
            try:
                await self.write_all()
                said = ""
                await anyio.sleep(GATHER)
            except StoreProblem as problem:
                if str(problem) != said:
                    said = str(problem)
                    log.error("store.away", problem=said)  # noqa: TRY400 - a full disk is no bug
                await anyio.sleep(AGAIN_AFTER)
                self._wake.set()

    async def _write_log(self) -> None:
        """Log in a thread: a thousand lines, as when all links are lost, would hold the loop too long."""
        entries, self._unlogged = self._unlogged, []
        dropped, self._never_logged = self._never_logged, 0
        if dropped:
            log.warning("journal.not_logged", entries=dropped, meaning="there were too many at a time")
        if not entries:
            return
        try:
            await to_thread.run_sync(_log_all, entries)
        except BaseException:  # cancelled before it began: the last call of ``run`` logs them
            self._unlogged = entries + self._unlogged
            raise

    async def _write_journal(self) -> None:
        while self._journal:  # in chunks: others wait for the database
            entries, self._journal = self._journal[:JOURNAL_CHUNK], self._journal[JOURNAL_CHUNK:]
            lost = self._lost
            self._noting = True
            try:
                added = entries if lost is None else [lost.entry, *entries]
                await to_thread.run_sync(self._store.apply, [AddJournal(tuple(added))])
            except BaseException:
                self._journal = entries + self._journal
                self._bound_journal()
                raise
            finally:
                self._noting = False
            if lost is not None and self._lost is not None:
                more = self._lost.count - lost.count
                self._lost = evolve(self._lost, count=more) if more else None

    def _bound_journal(self) -> None:
        surplus = len(self._journal) - MOST_ENTRIES
        if surplus > 0:
            count = surplus + (0 if self._lost is None else self._lost.count)
            self._lost = _Lost(count, self._journal[surplus - 1])
            del self._journal[:surplus]

    def _drop_what_goes_with(self, uid: str) -> None:
        for about, write in list(self._behind.items()):
            if isinstance(write, PutRevision | DropRevision | PutPauses) and _about(write)[1] == uid:
                del self._behind[about]


def _log_all(entries: Sequence[JournalEntry]) -> None:
    for each in entries:
        journal_log.info(each.kind, subject=each.subject, sentence=each.sentence)


def _about(write: StoreWrite) -> tuple[object, ...]:
    """Return what a write is about: two writes about the same thing need not both be written."""
    match write:
        case PutDeployment(record):
            return ("deployment", record.uid)
        case RemoveDeployment(uid):
            return ("deployment", uid)
        case PutRevision(record):
            return ("revision", record.uid, record.revision)
        case DropRevision(uid, revision):
            return ("revision", uid, revision)
        case PutNode(record):
            return ("node", record.id)
        case DropNode(node):
            return ("node", node)
        case DropNodeKey(node):
            return ("node key", node)
        case PutDeletion(record):
            return ("deletion", record.uid)
        case DropDeletion(uid):
            return ("deletion", uid)
        case PutMeasured(record):
            return ("measured", record.engine, record.worker, record.kind)
        case PutPauses(record):
            return ("pauses", record.uid)
        case PutApiKey(record):
            return ("API key", record.name)
        case DropApiKey(name):
            return ("API key", name)
        case _:
            return (type(write),)
