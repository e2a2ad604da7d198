"""Bringing the files of a model to a worker before anybody needs them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .checkpoint import read_checkpoint
from .errors import SourceProblem
from .gguf import read_gguf
from .hub import OnProgress
from .hub_source import WANTED, Wanted, nothing_to_pull
from .store import ModelStore, Say


async def pull(
    store: ModelStore,
    backend: str,
    source: str,
    interpreter: Callable[[], str],
    *,
    say: Say,
    count: OnProgress,
) -> int:
    """Bring the files of a source, unless they are here; return how many bytes an engine will load of them.

    It shares the download with the replicas of this worker that want the same. A source that engines use as
    it is, as a path, is only read. Where the files are not wanted any longer, they are removed as those of
    any other model that nobody uses.

    Args:
        store: The models of the worker.
        backend: The backend whose engines are to load the files.
        source: The source, as a deployment names it.
        interpreter: See ``ModelStore.lend``.
        say: See ``Say``.
        count: See ``OnProgress``.

    Raises:
        SourceProblem: The files cannot be brought, or are no model that the backend loads.
        OSError: The disk cannot be read or written, or does not answer (``DiskSilent``).
    """
    _check(backend)
    async with store.lend(backend, source, interpreter, say, count=count) as path:
        return await store.disk.run(path, partial(_size, backend, path))


async def size_here(store: ModelStore, backend: str, source: str) -> int | None:
    """Return how many bytes an engine will load of a source, or None while they are not all here.

    Raises:
        SourceProblem: The source is malformed, or is no model that the backend loads.
        OSError: The disk cannot be read, or does not answer.
    """
    _check(backend)
    path = await store.disk.run(store.folder, partial(store.find, backend, source))
    return None if path is None else await store.disk.run(path, partial(_size, backend, path))


def _check(backend: str) -> None:
    if why := nothing_to_pull(backend):
        raise SourceProblem(why)


def _size(backend: str, path: str) -> int:
    return read_gguf(path).size if WANTED[backend] is Wanted.GGUF else read_checkpoint(path).size
