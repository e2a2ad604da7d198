"""What the gateway's actor knows, beyond a restart of the actor, and, in part, of the gateway."""

from __future__ import annotations

import anyio
import structlog
from anyio import to_thread

from sllm_actors.files import FileProblem

from .keys import KnownKeys
from .knowledge import Knowledge
from .poison import Poison
from .snapshot_file import Snapshot, SnapshotFile

log = structlog.get_logger()


class Memory:
    """What outlives a restart of the gateway's actor.

    Attributes:
        knowledge: What the gateway has been told.
        poison: Which engines have died, and what of.
        keys: The keys that open the gateway.
        file: The snapshot on disk.
        unsaved: Whether what the head says has changed since the snapshot was written.
        lives: How often the actor has begun.
        complete: Set when a head has told of all deployments, to this gateway or to one before it.
    """

    def __init__(self, file: SnapshotFile, poison: Poison, keys: KnownKeys) -> None:
        self.knowledge = Knowledge()
        self.poison = poison
        self.keys = keys
        self.file = file
        self.unsaved = False
        self.lives = 0
        self.complete = anyio.Event()
        self._loaded = False
        self._saves = 0

    async def load(self) -> None:
        """Take over the snapshot on disk, unless that was done before; nothing if it cannot be read."""
        if self._loaded:
            return
        try:
            snapshot = await to_thread.run_sync(self.file.load)
        except FileProblem as problem:
            log.warning("snapshot.unreadable", reason=str(problem))
            snapshot = None
        self._loaded = True
        if snapshot is not None:
            self.knowledge.serve(snapshot.models)
            self.knowledge.locate(snapshot.workers)
            self.keys.learn(snapshot.keys)
            self.complete.set()
            log.info("snapshot.loaded", deployments=len(snapshot.models), workers=len(snapshot.workers))

    async def save(self) -> bool:
        """Write the snapshot to disk, and return whether that worked.

        After a failure, which is logged, or a cancellation it is ``unsaved`` still.
        """
        self._saves += 1
        known = self.knowledge
        snapshot = Snapshot(
            tuple(known.served.values()), tuple(known.addresses.values()), self.keys.entries()
        )
        self.unsaved = False
        saved = False
        try:
            await to_thread.run_sync(self.file.save, self._saves, snapshot, abandon_on_cancel=True)
            saved = True
        except OSError as error:
            # Routing goes on; only a restart while the head is away would begin with what was said before.
            log.warning("snapshot.not_saved", path=str(self.file.path), error=str(error))
        finally:
            self.unsaved = self.unsaved or not saved
        return saved
