"""The model files that a worker keeps: downloaded when they are first needed, and kept for the next start."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
from attrs import define, field, frozen

from sllm_actors.disk import Disk

from .byte_size import shown_bytes
from .demo_model import DEMO_MODELS, copy_demo, demo_file
from .errors import SourceProblem, forbidden
from .folder import FETCH, USE, ModelFolder
from .hub import Hub, Listing, OnProgress, UnknownRevision
from .hub_source import WANTED, HubSource, RepoFile, Wanted, needed_files, read_hub_source
from .quota import make_room

T = TypeVar("T")

DEMO = "demo:"

LOOK_AGAIN = 0.5
"""Seconds between two looks for a lock that another worker holds."""

CLEARING = 600.0
"""Seconds that the removal of other models may take."""

Say = Callable[[str], None]
"""Told what is being done, in a few words, when that has changed."""


def _not_counted(done: int, total: int) -> None:
    """An ``OnProgress`` for those who want words only."""


@frozen(eq=False)
class _Listener:
    """One of those that wait for a download."""

    say: Say
    count: OnProgress


@define
class _Download:
    """The download of one folder by this worker: one at a time, its progress for all that wait for it."""

    lock: anyio.Lock = field(factory=anyio.Lock)
    listeners: list[_Listener] = field(factory=list)
    said: str = ""
    counted: tuple[int, int] = (0, 0)

    def join(self, listener: _Listener) -> None:
        """Tell somebody of the progress from now on, and of what it is now."""
        self.listeners.append(listener)
        if self.said:
            listener.say(self.said)
            listener.count(*self.counted)

    def say(self, words: str) -> None:
        if words != self.said:
            self.said = words
            for listener in self.listeners:
                listener.say(words)

    def count(self, done: int, total: int) -> None:
        if (done, total) != self.counted:
            self.counted = (done, total)
            for listener in self.listeners:
                listener.count(done, total)


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


@frozen
class ModelStore:
    """The models of a worker, each in a ``ModelFolder``.

    Attributes:
        folder: The folder of all models, made when it is needed. Several workers may share it.
        hub: The hub that models are downloaded from.
        quota: Bytes that all models together may have, or None.
        free: Says how many bytes are free where a folder is.
        disk: Makes the blocking calls on the folder, which may be on a disk that does not answer.
    """

    folder: Path
    hub: Hub
    quota: int | None = None
    free: Callable[[Path], int] = _free
    disk: Disk = field(factory=Disk, repr=False)
    _downloads: dict[str, _Download] = field(factory=dict, init=False, repr=False)

    def find(self, backend: str, source: str) -> str | None:
        """Return the path of a source's files, or None when ``lend`` has to bring them. Blocks on the disk.

        A source that an engine uses as it is, as a path, is returned as it is.

        Raises:
            SourceProblem: The source is malformed, or is known to have nothing for this backend.
        """
        folder, wanted = self._folder_of(backend, source), WANTED.get(backend)
        if folder is None or wanted is None:
            return source
        hub_source = read_hub_source(source)
        if hub_source is None:
            demo_file(source.removeprefix(DEMO))
            return str(folder.files) if folder.files.is_dir() else None
        listing = folder.read_listing()
        if listing is None:
            return None
        files = needed_files(hub_source, wanted, listing.files)
        return str(_what_to_load(folder, wanted, files)) if folder.is_whole(files) else None

    def brings(self, backend: str, source: str) -> bool:
        """Say whether a source's files are brought into the folder before an engine loads them.

        Raises:
            SourceProblem: The source is malformed.
        """
        return self._folder_of(backend, source) is not None

    @asynccontextmanager
    async def lend(
        self,
        backend: str,
        source: str,
        interpreter: Callable[[], str],
        say: Say,
        *,
        count: OnProgress = _not_counted,
    ) -> AsyncIterator[str]:
        """Bring the files of a source, unless they are here, and keep them from removal within the context.

        One download of a repository and revision runs at a time; others that want it wait for it, and hear of
        its progress. One that was cancelled is continued by the next. No process is left.

        Args:
            backend: The backend whose engine is to load the files.
            source: The source, as a deployment names it.
            interpreter: Returns the Python that the engine runs under; may block.
            say: See ``Say``.
            count: See ``OnProgress``; of a download that others share, the bytes are those of the whole.

        Yields:
            The path of the files on this worker; or the source as it is, where there is nothing to bring.

        Raises:
            SourceProblem: The files cannot be brought: one sentence with the remedy.
            OSError: The disk cannot be read or written, or does not answer (``DiskSilent``).
        """
        folder = self._folder_of(backend, source)
        if folder is None:
            yield source
            return
        clearing = "waiting until the model's folder is cleared"
        use = await self._wait_for_lock(folder, USE, fcntl.LOCK_SH, say, clearing)
        try:
            path = await self._look(partial(self.find, backend, source))
            yield path or await self._bring(folder, backend, source, interpreter, _Listener(say, count))
        finally:
            await self.disk.finish(partial(folder.give_back, use))

    def _folder_of(self, backend: str, source: str) -> ModelFolder | None:
        """Return where the files of a source are brought to; None where it is used as it is."""
        wanted = WANTED.get(backend)
        hub_source = read_hub_source(source) if wanted else None
        if hub_source is not None:
            return ModelFolder(self.folder / hub_source.folder_name)
        if wanted is Wanted.FOLDER and source.startswith(DEMO):
            demo_file(source.removeprefix(DEMO))  # or its name may be anything
            return ModelFolder(self.folder / source.replace(":", "--"))
        return None

    async def _bring(
        self,
        folder: ModelFolder,
        backend: str,
        source: str,
        interpreter: Callable[[], str],
        listener: _Listener,
    ) -> str:
        download = self._downloads.setdefault(folder.path.name, _Download())
        download.join(listener)
        try:
            async with download.lock:
                other = "another worker brings it into the same storage"
                lock = await self._wait_for_lock(folder, FETCH, fcntl.LOCK_EX, download.say, other)
                try:
                    hub_source = read_hub_source(source)
                    if hub_source is None:
                        return await self._convert(folder, source, interpreter, download.say)
                    return await self._fetch(folder, hub_source, WANTED[backend], download)
                finally:
                    await self.disk.finish(partial(os.close, lock))
        finally:
            download.listeners.remove(listener)
            if not download.listeners:
                self._downloads.pop(folder.path.name, None)

    async def _convert(
        self, folder: ModelFolder, source: str, interpreter: Callable[[], str], say: Say
    ) -> str:
        say("converting the demo model")
        name = source.removeprefix(DEMO)
        file = await self.disk.run(source, partial(demo_file, name))
        python = await self.disk.run(source, interpreter)
        size = DEMO_MODELS[name].copy_size
        await self._make_room(folder, source, size)
        await copy_demo(file, folder.files, python, self.hub.environment)
        return str(folder.files)

    async def _fetch(
        self, folder: ModelFolder, source: HubSource, wanted: Wanted, progress: _Download
    ) -> str:
        listing = await self._look(folder.read_listing)
        if listing is None:
            progress.say(f"asking {self.hub.endpoint} for {source.repo}")
            listing = await self.hub.resolve(source)
            await self._look(partial(folder.write_listing, listing))
        files = needed_files(source, wanted, listing.files)
        if not await self._look(partial(folder.is_whole, files)):
            needed = await self._look(partial(folder.missing, files))
            await self._make_room(folder, str(source), needed)
            await self._download(folder, source, listing, files, progress)
        return str(_what_to_load(folder, wanted, files))

    async def _download(
        self,
        folder: ModelFolder,
        source: HubSource,
        listing: Listing,
        files: tuple[RepoFile, ...],
        progress: _Download,
    ) -> None:
        def progressed(done: int, total: int) -> None:
            progress.count(done, total)
            percent = 100 if total <= 0 else done * 100 // total
            progress.say(f"downloading {source.repo}: {percent} % of {shown_bytes(total)}")

        try:
            await self.hub.fetch(source, listing, files, folder.files, folder.partial, progressed)
        except UnknownRevision:  # the commit was taken back
            await self._look(folder.forget_listing)
            raise
        if not await self._look(partial(folder.is_whole, files)):
            raise SourceProblem(f"{source} was not downloaded whole into {folder.files}")

    async def _make_room(self, folder: ModelFolder, source: str, needed: int) -> None:
        # Removing what is large may take long on any disk.
        call = partial(make_room, folder, source, needed, self.quota, self.free)
        await self.disk.run(self.folder, call, patience=CLEARING)

    async def _wait_for_lock(self, folder: ModelFolder, name: str, kind: int, say: Say, why: str) -> int:
        while (lock := await self._look(partial(folder.lock, name, kind), undo=_close)) is None:
            say(why)
            await anyio.sleep(LOOK_AGAIN)
        return lock

    async def _look(self, call: Callable[[], T], undo: Callable[[T], object] | None = None) -> T:
        try:
            return await self.disk.run(self.folder, call, undo=undo)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise forbidden(self.folder, error) from None
            raise


def _what_to_load(folder: ModelFolder, wanted: Wanted, files: tuple[RepoFile, ...]) -> Path:
    return folder.files / files[0].name if wanted is Wanted.GGUF else folder.files


def _close(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)
