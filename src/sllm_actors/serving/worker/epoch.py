"""Which head this worker obeyed last: the highest epoch, kept on disk."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

import structlog
from attrs import field, frozen
from attrs.validators import ge, le

from sllm_actors.disk import Disk
from sllm_actors.files import FileProblem, put_aside, read_record, write_record

log = structlog.get_logger("sllm_actors.worker")

PATIENCE: Final = 3.0
"""Seconds that the disk may take to keep an epoch, before the worker obeys without it."""

MOST: Final = 2**63 - 1
_LONGEST = 1024


class ObeyedEpoch:
    """The highest epoch of a head whose orders were obeyed; orders of a lower one are not.

    It is written before the first order of a higher epoch is obeyed. Where it cannot be written (a full disk,
    or one that does not answer), the worker obeys all the same, with a warning, and ``keep`` tries again: a
    worker that cannot write must still serve. Until then, only this life of it knows the epoch. A damaged
    file is put aside with a warning; the next head that gives orders is obeyed, whichever it is.

    Reading the file, which making this does, blocks.

    Args:
        path: The file.
        disk: Writes it, in a thread.

    Attributes:
        value: The epoch; 0 for none.

    Raises:
        FileProblem: The file is damaged, and cannot be put aside.
    """

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path = path
        self._disk = disk
        self._lock = threading.Lock()
        self._kept = _read(path)
        self._warned = False
        self.value = self._kept

    async def rise(self, epoch: int) -> None:
        """Obey a higher epoch from now on."""
        self.value = max(self.value, epoch)
        await self.keep()

    async def keep(self) -> None:
        """Write the epoch, unless it is written already."""
        if self.value == self._kept:
            return
        try:
            await self._disk.run(self._path, self._write, patience=PATIENCE)
            self._warned = False
        except OSError as error:
            if not self._warned:
                log.warning(
                    "worker.epoch_not_written",
                    path=str(self._path),
                    reason=error.strerror or str(error),
                    meaning="it obeys; but started again, it would not know an older head as such",
                )
            self._warned = True

    def _write(self) -> None:
        with self._lock:  # an earlier call may have been left behind
            epoch = self.value
            write_record(self._path, _Kept(epoch), durable=True)
            self._kept = epoch


@frozen
class _Kept:
    epoch: int = field(validator=[ge(0), le(MOST)])


def _read(path: Path) -> int:
    try:
        kept = read_record(path, _Kept, _LONGEST)
    except FileProblem as problem:
        put_aside(problem, "the next head that gives orders is obeyed, whichever it is")
        return 0
    return 0 if kept is None else kept.epoch
