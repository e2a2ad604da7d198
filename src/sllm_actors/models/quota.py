"""The models on a worker's disk, and room for another one. Everything here blocks: call it in a thread."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import unquote

import structlog

from sllm_actors.files import make_private_file

from .byte_size import shown_bytes
from .errors import SourceProblem
from .eviction import KEEP_FREE, CachedModel, DiskSpace, choose_evictions
from .folder import FETCH, USE, ModelFolder

log = structlog.get_logger("sllm_actors.models")

MOST_LISTED = 256
"""Models that a worker tells about at the most: those that were used last."""

GONE = ".gone-"
"""How the name of a folder begins that is being removed."""


def cached_models(models: Path) -> tuple[CachedModel, ...]:
    """Return the models in a worker's folder, the last used first, ``MOST_LISTED`` at the most."""
    found = sorted(_models(models), key=lambda each: (-each.last_used, each.source))
    return tuple(found[:MOST_LISTED])


def make_room(
    folder: ModelFolder, source: str, needed: int, quota: int | None, free: Callable[[Path], int]
) -> None:
    """Remove models that nobody uses, the least recently used first, until what a folder still needs fits.

    The bytes have to fit the disk and the quota, beside what others are downloading now and have announced
    here. Beyond that, ``KEEP_FREE`` of the disk is kept free if unused models can be removed for it. Where
    the bytes cannot fit, nothing is removed. Else they are announced to others, which counts for as long as
    the caller holds the folder's ``FETCH`` lock.

    Args:
        folder: The folder of the model; those of the other models are beside it.
        source: The source of the model, for messages.
        needed: Bytes that are to be added to the folder.
        quota: Bytes that all models together may have, or None.
        free: Says how many bytes are free where a folder is.

    Raises:
        SourceProblem: The bytes do not fit.
        OSError: The disk cannot be read or written.
    """
    models = folder.path.parent
    with _one_at_a_time(models), ExitStack() as locks:
        _sweep(models)
        found = _models(models)
        coming = sum(each.coming() for each in found.values() if each.path != folder.path)
        keep_free = int(shutil.disk_usage(models).total * KEEP_FREE)
        room = DiskSpace(free(models) - coming, keep_free, None if quota is None else quota - coming)
        in_use: set[str] = set()
        chosen = _choose(found, in_use, needed, room, locks)
        if chosen is None:
            _check_quota(found, in_use, needed, coming, quota)
        for each in chosen or ():
            log.info("model.removed", model=each.source, size=each.size, needed=needed)
            _remove(found[each])
        left = free(models) - coming
        if needed > left:
            has = f"{shown_bytes(max(0, left))} free"
            if coming:
                has += f", beside {shown_bytes(coming)} for what is being fetched"
            raise SourceProblem(
                f"{source} needs {shown_bytes(needed)} more in {models}, which has {has}: make room there, or"
                " start the worker with another --storage-path"
            )
        folder.announce(needed)


def _choose(
    found: Mapping[CachedModel, ModelFolder], in_use: set[str], needed: int, room: DiskSpace, locks: ExitStack
) -> tuple[CachedModel, ...] | None:
    """Lock and return what is to be removed; add to ``in_use`` what others have. None where it cannot fit."""
    locked: set[str] = set()
    while True:
        chosen = choose_evictions(found, in_use, needed, room)
        new = next((each for each in chosen or () if each.source not in locked), None)
        if new is None:
            return chosen
        if _lock(found[new], locks):
            locked.add(new.source)
        else:
            in_use.add(new.source)


@contextmanager
def _one_at_a_time(models: Path) -> Iterator[None]:
    """Let no other worker look for room meanwhile; it is soon done."""
    make_private_file(models / ".room.lock")
    with (models / ".room.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _models(models: Path) -> dict[CachedModel, ModelFolder]:
    return {
        CachedModel(_source(folder.path.name), folder.size(), folder.last_used()): folder
        for folder in map(ModelFolder, _folders(models))
    }


def _folders(models: Path) -> Iterator[Path]:
    try:
        yield from (path for path in models.iterdir() if not path.name.startswith(".") and path.is_dir())
    except FileNotFoundError:
        return


def _source(name: str) -> str:
    """Return the source that a folder's name means."""
    repo, at, revision = unquote(name).partition("@")
    if not at:
        return f"demo:{repo.removeprefix('demo--')}"
    return f"hf:{repo.replace('--', '/')}@{revision}"


def _lock(folder: ModelFolder, locks: ExitStack) -> bool:
    """Lock everybody out of a folder, users and downloads; say whether that could be done."""
    taken: list[int] = []
    for name in (USE, FETCH):
        lock = folder.lock(name, fcntl.LOCK_EX) if folder.path.is_dir() else None
        if lock is None:
            for each in taken:
                os.close(each)
            return False
        taken.append(lock)
    for each in taken:
        locks.callback(os.close, each)
    return True


def _remove(folder: ModelFolder) -> None:
    """Remove a locked folder: at once for everybody else, whatever happens to us meanwhile."""
    gone = folder.path.with_name(f"{GONE}{secrets.token_hex(8)}")
    folder.path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _sweep(models: Path) -> None:
    """Remove what was being removed when a worker died."""
    for path in models.glob(f"{GONE}*"):
        shutil.rmtree(path, ignore_errors=True)


def _check_quota(
    found: Iterable[CachedModel], in_use: Collection[str], needed: int, coming: int, quota: int | None
) -> None:
    if quota is None:
        return
    held = coming + sum(each.size for each in found if each.source in in_use)
    if held + needed > quota:
        others = f", of which {shown_bytes(held)} are in use" if held else ""
        raise SourceProblem(
            f"it needs {shown_bytes(needed)}, and this worker's models may have {shown_bytes(quota)}"
            f"{others}: give the worker a larger --storage-quota, or delete a deployment"
        )
