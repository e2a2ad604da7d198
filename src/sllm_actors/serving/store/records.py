"""What the head keeps on disk, as plain values. Pure.

A ``uid`` names one life of a deployment: a later deployment with the same id has another one. Texts hold no
NUL character. Times are in seconds since the epoch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from math import inf
from typing import Final

from attrs import field, frozen

from sllm_actors.serving.deployment.document import read_kept_document
from sllm_actors.serving.deployment.spec import DeploymentSpec

MOST_BINS: Final = 1_000
"""The most bins of pauses that are read."""


@frozen
class DeploymentRecord:
    """A deployment. What it runs is in its revisions.

    Attributes:
        uid: Random hex text, given by whoever deploys; at most 64 characters.
        id: ``<model>:<backend>``; at most 320 characters.
        created: When it was deployed.
        deleting: Whether it is being deleted.
        generation: The number of its policy (counts, keep-alive, limits), which a change raises.
        current: The revision that serves.
        target: The revision that is being rolled out, or None.
        paused: Why its roll-out is paused, or "".
        allow_downtime: Whether its roll-out may stop the last replica of the current revision.
        reserved: Replica numbers below this one may have been given out.
        recovered: Whether it was taken back from workers that ran it, unknown to the store.
        loaded: Whether a replica of it has served since it was made: without a minimum of replicas, one is
            started until one has.
    """

    uid: str
    id: str
    created: float
    deleting: bool = False
    generation: int = 1
    current: int = 1
    target: int | None = None
    paused: str = ""
    allow_downtime: bool = False
    reserved: int = 0
    recovered: bool = False
    loaded: bool = False


@frozen
class RevisionRecord:
    """A revision of a deployment.

    Attributes:
        uid: The uid of the deployment.
        revision: Its number, from 1; never used again for the same deployment id.
        document: The whole deployment document, as the JSON text of ``write_document``: the engine's part as
            in this revision, the policy as it is now.
        created: When it was made.
        failed: Why it was rolled back, or "".
    """

    uid: str
    revision: int
    document: str
    created: float
    failed: str = ""

    @cached_property
    def spec(self) -> DeploymentSpec:
        """What the document says.

        Raises:
            DeploymentProblem: It cannot be read.
        """
        return read_kept_document(self.document)


@frozen
class DeletionRecord:
    """A deployment that was deleted: what workers still run of it is not taken back.

    Attributes:
        uid: The uid of the deployment.
        id: The id of the deployment.
        at: When its deletion ended.
    """

    uid: str
    id: str
    at: float


@frozen
class NodeRecord:
    """A node that has joined.

    Attributes:
        id: Its id; at most 255 characters.
        role: ``worker`` or ``gateway``; at most 32 characters.
        name: What people call it, or "".
        last_seen: When it was last known to be linked.
        draining: Whether a person has asked for it to be drained.
    """

    id: str
    role: str
    name: str = ""
    last_seen: float = 0.0
    draining: bool = False


@frozen
class MeasuredRecord:
    """Something that was measured of an engine.

    Attributes:
        engine: The fingerprint of the revision; at most 64 characters.
        worker: The node id of the worker where it was measured; "" where that makes no difference.
        kind: What was measured; at most 32 characters.
        value: What it was, in seconds or bytes.
        at: When.
    """

    engine: str
    worker: str
    kind: str
    value: float
    at: float


@frozen
class PausesRecord:
    """How long the pauses between the requests of a deployment were: see ``decisions.pauses``.

    Attributes:
        uid: The uid of the deployment.
        bins: How many there were of each length, as the JSON text of an object: by the number of the bin.
        longer: How many were longer than all bins.
        halved: When older ones counted for half last.
    """

    uid: str
    bins: str
    longer: float
    halved: float

    @cached_property
    def counts(self) -> dict[int, float]:
        """What ``bins`` says.

        Raises:
            ValueError: It cannot be read.
        """
        found = json.loads(self.bins)
        if not isinstance(found, dict) or len(found) > MOST_BINS:
            raise ValueError("no object of bins")
        counts = {int(number): float(count) for number, count in found.items()}
        figures = (*counts.values(), self.longer)
        if not all(0 <= each < MOST_BINS for each in counts) or not all(0 <= each < inf for each in figures):
            raise ValueError("a bin or a count is out of range")
        return counts


@frozen
class NodeKey:
    """The public key that a node has proved to hold, and the role that it joined with."""

    role: str
    public_key: bytes


@frozen
class ApiKeyRecord:
    """An API key, which the store does not know itself.

    Attributes:
        name: What people call it; at most 64 characters.
        digest: See ``keys.secret.digest_of``.
        share: Its share beside those of other keys, above 0.
        created: When it was made.
    """

    name: str
    digest: str = field(repr=False)
    share: float
    created: float


@frozen
class JournalEntry:
    """Something that was decided or noticed, for people.

    Attributes:
        at: When.
        subject: The id of the deployment or node, or the name of the API key, that it is about; at most 320
            characters.
        kind: What happened, as a name that programs may compare; at most 64 characters.
        sentence: What happened and why, for a person.
        number: Its place in the journal; each entry has a higher one than those before it.
        revision: The revision of the deployment that it is about, or 0.
        replica: The replica that it is about, as ``<model>:<backend>@<revision>.<number>``, or "".
        node: The id of the node that it is about, or "".
    """

    at: float
    subject: str
    kind: str
    sentence: str
    number: int = 0
    revision: int = 0
    replica: str = ""
    node: str = ""


@frozen
class StoredState:
    """All that the store holds, but for the keys of nodes and the journal.

    Attributes:
        fresh: Whether the database was made anew and no head has settled on it: engines may be running that
            it does not know. It is so until a deployment is put that is not ``recovered``.
        epoch: The highest epoch that a head had, or 0.
        deployments: In the order of their ids.
        revisions: In the order of uid and number.
        deletions: The remembered deletions, oldest first.
        nodes: In the order of their ids.
        last_revisions: By deployment id the highest revision number ever used, also by deployments that are
            deleted.
        measured: What was measured of engines, the oldest first.
        pauses: Those of deployments that can be read, by uid.
        api_keys: In the order of their names.
    """

    fresh: bool = True
    epoch: int = 0
    deployments: tuple[DeploymentRecord, ...] = ()
    revisions: tuple[RevisionRecord, ...] = ()
    deletions: tuple[DeletionRecord, ...] = ()
    nodes: tuple[NodeRecord, ...] = ()
    last_revisions: Mapping[str, int] = field(factory=dict)
    measured: tuple[MeasuredRecord, ...] = ()
    pauses: Mapping[str, PausesRecord] = field(factory=dict)
    api_keys: tuple[ApiKeyRecord, ...] = ()
