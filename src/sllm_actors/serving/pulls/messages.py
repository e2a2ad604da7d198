"""What is asked about pulls, of the head and of workers."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

from sllm_actors.actors import Catalog

CATALOG = Catalog()


# ---- gateway -> head


@CATALOG.message("serving.plan_pull", senders={"gateway"})
@frozen
class PlanPull:
    """Of which source are the files of a model, and which workers are meant?

    Answered with ``PullPlan`` or ``Refusal``; nothing happens.

    Attributes:
        model: The id, the name or an alias of a deployment; or else what could be deployed as ``model``.
        backend: The backend whose engines are to load the files; "" for that of the deployment, or else the
            default.
        source: The source; "" for that of the deployment, or else the one that ``model`` is.
        workers: Names or ids of workers; () for those that have replicas of the deployment, or else for the
            one that a replica would be placed on.
        everywhere: All workers that are linked, whatever ``workers`` is.
    """

    model: str
    backend: str = ""
    source: str = ""
    workers: tuple[str, ...] = ()
    everywhere: bool = False


@frozen
class PullPlace:
    """A worker, by its node id, and what people call it."""

    node: str
    name: str


@CATALOG.message("serving.pull_plan", senders=())
@frozen
class PullPlan:
    """Of which source files are to be brought, for engines of which backend, and to which workers."""

    backend: str
    source: str
    workers: tuple[PullPlace, ...]


# ---- gateway -> worker; each is answered with ``PullReport`` at once


@CATALOG.message("serving.pull_model", senders={"gateway"})
@frozen
class PullModel:
    """Bring the files of a source, unless they are here or being brought."""

    backend: str
    source: str


@CATALOG.message("serving.describe_pull", senders={"gateway"})
@frozen
class DescribePull:
    """Are the files of a source here, or how far are they?"""

    backend: str
    source: str


@CATALOG.message("serving.cancel_pull", senders={"gateway"})
@frozen
class CancelPull:
    """Bring the files of a source no longer, unless a replica needs them; what is here stays."""

    backend: str
    source: str


class PullState(StrEnum):
    """``QUEUED -> PULLING -> DONE``, or ``FAILED`` or ``CANCELLED``.

    ``DONE``: all files are here, whoever brought them. ``ABSENT``: they are not, and nobody has asked for
    them since the worker began. ``AWAY`` is what gateways say of a worker that does not answer.
    """

    QUEUED = "queued"
    PULLING = "pulling"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ABSENT = "absent"
    AWAY = "away"

    @property
    def under_way(self) -> bool:
        """Whether it goes on by itself."""
        return self in (PullState.QUEUED, PullState.PULLING)


@CATALOG.message("serving.pull_report", senders=())
@frozen
class PullReport:
    """How far the files of a source are on one worker.

    Attributes:
        state: See ``PullState``.
        done: Bytes that are here; of a download that others share, of the whole of it.
        total: Bytes that there will be; 0 while that is not known.
        progress: What is being done, in a few words.
        reason: Why it has failed, in a sentence; "" if it has not.
    """

    state: PullState
    done: int = 0
    total: int = 0
    progress: str = ""
    reason: str = ""
