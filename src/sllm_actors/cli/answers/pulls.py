"""How far models' files are on workers."""

from __future__ import annotations

from attrs import field, frozen


@frozen
class PulledDocument:
    """How far the files of a model are on one worker.

    Attributes:
        node: The worker's node id.
        name: What people call it.
        state: queued, pulling, done, failed, cancelled, absent or away.
        done: How many bytes are there.
        total: How many there will be; 0 while that is not known.
        progress: What is being done, in words.
        reason: Why it has failed, or does not answer, in a sentence.
    """

    node: str
    name: str = ""
    state: str = ""
    done: int = 0
    total: int = 0
    progress: str | None = None
    reason: str | None = None


@frozen
class PullDocument:
    """The answer to ``POST /models/pull`` and ``GET /models/pull/{id}``."""

    id: str
    backend: str = ""
    source: str = ""
    state: str = ""
    workers: list[PulledDocument] = field(factory=list)
