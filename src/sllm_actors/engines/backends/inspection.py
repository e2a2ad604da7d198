"""Answering ``InspectSource`` in time, even if a disk does not answer."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from sllm_actors.disk import DiskSilent
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.messages import InspectSource, ReplicaOrder, SourceInspected
from sllm_actors.models.errors import SourceProblem
from sllm_actors.models.hub_source import WANTED

from .registry import inspect_source

ANSWERS = 3.0
"""Seconds that the disk with the source's path may take to answer; the head waits a little longer."""

LONGEST = 90.0
"""Seconds that everything else may take: an engine's Python may have to be started from a slow disk."""


async def inspect_in_time(request: InspectSource, host: EngineHost) -> SourceInspected:
    """Return what keeps this worker from running a source; a path on a disk that does not answer does.

    Raises:
        DiskSilent: Something other than the named paths took longer than ``LONGEST``: the source may be good.
    """
    try:
        for path in paths_of(request, host):
            await host.disk.check(path, patience=ANSWERS)
    except DiskSilent as silent:
        return SourceInspected(problem=str(silent))
    return await host.disk.run(request.source, partial(inspect_source, request, host), patience=LONGEST)


def paths_of(asked: InspectSource | ReplicaOrder, host: EngineHost) -> tuple[str | Path, ...]:
    """Return the paths on disk that a source, its settings and its secrets name."""
    named = [value for value in asked.settings.values() if isinstance(value, str)]
    named += [reference.removeprefix("file:") for reference in asked.secret_env.values()]
    files = tuple(name for name in named if name.startswith("/"))
    if asked.backend not in WANTED:
        return files
    if asked.source.startswith("/"):
        return (asked.source, *files)
    try:
        return (host.models.folder, *files) if host.models.brings(asked.backend, asked.source) else files
    except SourceProblem:  # it is not written like a source: nothing is looked at for it
        return files
