"""The folder that one repository and revision of a hub has on a worker. Everything here blocks.

The folder has

- ``listing.json``: the commit that the revision was when it was first asked for, and what files it had. From
  then on the source means that commit: the hub is asked for what is missing of it, and for nothing else;
- ``files``: the files that are whole, under their names in the repository;
- ``partial``: the files that are not whole yet;
- ``fetch.lock``: held by the worker that downloads into the folder, and ``announced``: how many bytes the
  folder will have when that is done;
- ``use.lock``: held, shared, by each worker that has a replica of the model. The file's modification time is
  that of the last use.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

from attrs import frozen

from sllm_actors.files import FileProblem, make_private_folder, put_aside, read_json, read_text, write_whole

from .errors import SourceProblem
from .hub import Listing
from .hub_source import RepoFile

FETCH, USE = "fetch.lock", "use.lock"
LISTING = "listing.json"
LONGEST_LISTING = 64 * 2**20  # bytes


@frozen
class ModelFolder:
    """The folder of one model; see the module."""

    path: Path

    @property
    def files(self) -> Path:
        """The folder of the files that are whole."""
        return self.path / "files"

    @property
    def partial(self) -> Path:
        """The folder of the files that are not whole yet."""
        return self.path / "partial"

    def read_listing(self) -> Listing | None:
        """Return the recorded listing, or None. A damaged record is moved aside with a warning.

        Raises:
            SourceProblem: A damaged record cannot be moved aside.
        """
        path = self.path / LISTING
        try:
            return _listing(path, read_json(path, LONGEST_LISTING))
        except FileProblem as damaged:
            try:
                put_aside(damaged, "the hub is asked again what the repository has")
            except FileProblem as problem:
                raise SourceProblem(str(problem)) from None
            return None

    def write_listing(self, listing: Listing) -> None:
        """Record a listing, all or nothing."""
        files = [(each.name, each.size, each.sha256) for each in listing.files]
        text = json.dumps({"commit": listing.commit, "files": files})
        write_whole(self.path / LISTING, text, durable=True)

    def forget_listing(self) -> None:
        """Remove the recorded listing: the next download asks the hub again."""
        (self.path / LISTING).unlink(missing_ok=True)

    def is_whole(self, files: Iterable[RepoFile]) -> bool:
        """Say whether all these files are here."""
        return all(self._has(each) for each in files)

    def missing(self, files: Iterable[RepoFile]) -> int:
        """Return how many bytes of these files are still to come."""
        wanted = sum(each.size for each in files if not self._has(each))
        begun = sum(_size(each) or 0 for each in self.partial.glob("*"))
        return max(0, wanted - begun)

    def announce(self, needed: int) -> None:
        """Tell others how many bytes the holder of the ``FETCH`` lock will add."""
        write_whole(self.path / "announced", str(self.size() + needed), durable=False)

    def coming(self) -> int:
        """Return how many announced bytes are still to come; 0 if nobody holds the ``FETCH`` lock now."""
        try:
            coming = int(read_text(self.path / "announced", 32) or 0) - self.size()
        except (FileProblem, ValueError):  # it counts only as long as somebody downloads, who writes it anew
            return 0
        lock = self.lock(FETCH, fcntl.LOCK_SH) if coming > 0 else None
        if lock is not None:
            os.close(lock)
            return 0
        return max(0, coming)

    def size(self) -> int:
        """Return the bytes of all files in the folder; one that is removed meanwhile counts as none."""
        return sum(
            _size(Path(folder, name)) or 0 for folder, _, names in os.walk(self.path) for name in names
        )

    def last_used(self) -> float:
        """Return when the model was used last, in seconds since the epoch; 0 for never."""
        try:
            return (self.path / USE).stat().st_mtime
        except OSError:
            return 0.0

    def lock(self, name: str, kind: int) -> int | None:
        """Take a lock, or return None where somebody else holds it, or has just removed the folder.

        Args:
            name: ``FETCH`` or ``USE``.
            kind: ``fcntl.LOCK_SH`` or ``fcntl.LOCK_EX``.

        Returns:
            A descriptor: closing it releases the lock.

        Raises:
            OSError: The lock's file cannot be opened.
        """
        make_private_folder(self.path)
        try:
            lock = os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
            found, ours = (self.path / name).stat(), os.fstat(lock)
            if (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino):
                return lock
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)
        return None

    def give_back(self, use: int) -> None:
        """Release a ``USE`` lock, and record now as the time of the last use."""
        now = time.time()
        os.utime(use, (now, now))
        os.close(use)

    def _has(self, file: RepoFile) -> bool:
        return _size(self.files / file.name) == file.size


def _listing(path: Path, found: object) -> Listing | None:
    match found:
        case None:
            return None
        case {"commit": str(commit), "files": list(files)} if commit and all(map(_is_file, files)):
            return Listing(commit, tuple(RepoFile(*each) for each in files))
        case _:
            raise FileProblem(path, "is no list of a repository's files")


def _is_file(found: object) -> bool:
    match found:
        case [str(name), int(size), str(_)]:
            return name != "" and 0 <= size < 2**63
        case _:
            return False


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
