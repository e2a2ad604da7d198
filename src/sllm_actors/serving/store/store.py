"""The head's store: deployments, nodes, their keys, API keys and the journal, in one versioned SQL database.

SQLite by default, PostgreSQL by URL. Every method blocks: call it in a thread. Each method raises
``StoreProblem`` if the database fails. Replicas are not stored: workers report them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sllm_actors import __version__
from sllm_actors.files import remove_drafts

from . import schema
from .applying import apply_writes
from .beside import FileBeside, write_beside
from .database import Database, name_of, read_address, sqlite_file
from .deployments_file import DEPLOYMENTS, deployments_file
from .journal import JOURNAL_CHUNK, drop_old_entries, read_entries
from .journal_filter import EVERYTHING, JournalFilter
from .keys_file import KEYS, keys_file
from .make import make_file, prepare
from .problem import StoreProblem, unreadable
from .records import JournalEntry, NodeKey, StoredState
from .rows import UnreadableDeployment, check_deployments, read_keys, read_state
from .writes import AddJournal, PutDeployment, StoreWrite


class Store:
    """The open store. Made by ``Store.open``; any thread may use it, and no other process."""

    def __init__(self, database: Database, files: Sequence[FileBeside]) -> None:
        self._database = database
        self._files = files
        self._file_turn = threading.Lock()
        self._lock = threading.Lock()  # over what follows
        self._signed = False  # whether the database says that this version wrote to it
        self._settled = False  # whether it says that it is not fresh
        self._untrimmed = (
            JOURNAL_CHUNK  # entries that were added to the journal since its oldest were dropped
        )
        self._opened: StoredState | None = None  # what was read and checked, until it is loaded or changed

    @classmethod
    def open(cls, url: str, *, beside: Path | None = None) -> Store:
        """Connect, bring the schema to this program's, and check that every deployment and key can be read.

        A database that is not there, or holds nothing yet, is made with the deployments that
        ``deployments.json`` holds, and the API keys that ``api-keys.json`` holds, if these are there. Before
        an older SQLite file is changed, a copy is kept beside it, if the disk has room: ``state.db.v1`` of
        schema 1.

        Args:
            url: An SQLAlchemy URL; see ``sqlite_url``.
            beside: The folder of these files; None to keep none.

        Raises:
            StoreProblem: The database cannot be reached, is damaged, or was written by a later version; or
                one of these files is needed and was written by a later version.
        """
        address = read_address(url)
        files = () if beside is None else (deployments_file(beside), keys_file(beside))
        for file in files:
            remove_drafts(file.path)
        path = sqlite_file(address)
        if path is not None:
            make_file(address, path, beside)
        database = Database(address, name_of(address))
        store = cls(database, files)
        try:
            if path is not None or address.get_backend_name() == "sqlite":
                database.check(Path(database.name), _remedy(files))
            prepare(database, path, beside)
            store._check()
        except BaseException:
            database.close()
            raise
        return store

    def load(self) -> StoredState:
        """Return all that the store holds, but for the keys of nodes and the journal."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            return opened
        with self._database.reading() as connection:
            return read_state(connection, self._database.name)

    def apply(self, writes: Sequence[StoreWrite]) -> None:
        """Apply writes in their order, in one transaction: all are on disk when this returns.

        After the last one each deployment must have the revisions that it names (``current``, ``target``).

        Raises:
            StoreProblem: The database failed; none of the writes is applied.
        """
        if not writes:
            return
        settles = any(isinstance(write, PutDeployment) and not write.record.recovered for write in writes)
        added = sum(len(write.entries) for write in writes if isinstance(write, AddJournal))
        with self._lock:
            self._opened = None
            trims = added > 0 and self._untrimmed + added > JOURNAL_CHUNK
        with self._database.writing() as connection:
            apply_writes(self._database, connection, writes)
            if trims:
                drop_old_entries(connection)
            about = schema.ABOUT
            if not self._signed:
                connection.execute(about.update().values(program=__version__))
            if settles and not self._settled:
                connection.execute(about.update().where(about.c.fresh).values(fresh=False))
        with self._lock:
            self._signed = True
            self._settled |= settles
            for file in self._files:
                file.changed += file.changes(writes)
            self._untrimmed = 0 if trims else self._untrimmed + added

    def journal(
        self,
        limit: int,
        *,
        after: int | None = None,
        until: int | None = None,
        wanted: JournalFilter = EVERYTHING,
    ) -> list[JournalEntry]:
        """Return at most ``limit`` entries of the journal, in the order of their numbers.

        Args:
            limit: The most entries.
            after: Return the first ones with higher numbers than this; None for the newest ones.
            until: Return none with a higher number than this; None for all.
            wanted: Return only entries that it lets pass.
        """
        with self._database.reading() as connection:
            return read_entries(connection, self._database.name, limit, after, until, wanted)

    def node_keys(self) -> dict[str, NodeKey]:
        """Return the key and role that each node is bound to, by node."""
        with self._database.reading() as connection:
            return read_keys(connection, self._database.name)

    def bind_key(self, node: str, role: str, public_key: bytes, now: float) -> None:
        """Bind a node's id to a key and a role, in place of earlier ones; it is on disk when this returns.

        Args:
            node: The id of the node.
            role: The role that it joined with.
            public_key: At most 512 bytes.
            now: Seconds since the epoch.
        """
        row = {"node": node, "role": role, "public_key": public_key.hex(), "bound": now}
        with self._database.writing() as connection:
            self._database.put(connection, schema.NODE_KEYS, [row])

    @property
    def files_are_behind(self) -> bool:
        """Whether a file that is kept beside the database may be older than it."""
        with self._lock:
            return any(file.is_behind for file in self._files)

    def write_files(self) -> None:
        """Write the files beside the database that may be older, of mode 0600; they are on disk afterwards.

        It costs as much as there are deployments: call it behind changes, and not after each.

        Raises:
            StoreProblem: A file cannot be written, or the database cannot be read.
        """
        problems = []
        with self._file_turn:
            for file in self._files:
                try:
                    self._write_file(file)
                except StoreProblem as problem:
                    problems.append(problem)
        if problems:
            raise problems[0]

    def _write_file(self, file: FileBeside) -> None:
        with self._lock:
            changed = file.changed
            if not file.is_behind:
                return
        try:
            with self._database.reading() as connection:
                write_beside(file.path, file.lines(connection), time.time())
        except OSError as error:
            raise StoreProblem(f"{file.path} cannot be written: {error.strerror or error}") from None
        with self._lock:
            file.written = changed

    def close(self) -> None:
        """Write the files that are behind and can be written, and close every connection."""
        with suppress(StoreProblem):
            self.write_files()
        self._database.close()

    def _check(self) -> None:
        self.node_keys()
        state = self.load()
        try:
            check_deployments(state)
        except UnreadableDeployment as problem:
            what = f"the deployment {problem.deployment}"
            raise unreadable(what, self._database.name, problem.why) from None
        self._opened = state


def _remedy(files: Sequence[FileBeside]) -> str:
    there = {file.holds: file.path.name for file in files if file.path.exists()}
    lost = [each for each in (DEPLOYMENTS, KEYS) if each not in there]
    without = f"{', '.join(lost)} and nodes" if lost else "nodes"
    found = " and ".join(f"the {holds} in {name}" for holds, name in there.items())
    kept = f", and with {found}" if found else ""
    return f"put back what was there, or move the file away to begin without {without}{kept}"
