"""What the head can be asked about the cluster. Each question is answered with ``ControlAnswer``.

A list comes in pages, in the order of the ids. ``limit`` is how many entries a page has at most, from 1 to
``MAX_LIMIT``. A page may have fewer, even none, although more follow: it ends early where it grows too large,
or where a filter lets too few pass. ``next`` of the ``Done`` is the ``cursor`` of the page that follows, and
"" behind the last one. Entries that come or go between two pages change nothing for the others: a cursor says
after which id to go on, whether or not that one still exists.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from sllm_actors.actors import Catalog

CATALOG = Catalog()

MAX_LIMIT = 1000
"""The most entries of one page, and how many it has at most where nothing else is asked for."""


@CATALOG.message("serving.describe_deployment", senders={"gateway"})
@frozen
class DescribeDeployment:
    """Describe the deployment with this id, with its settings."""

    deployment: str


@CATALOG.message("serving.describe_deployments", senders={"gateway"})
@frozen
class DescribeDeployments:
    """List deployments without their settings.

    Attributes:
        state: Only those in this state, see ``DeploymentState``; "" for all.
        model: Only those of this model.
        backend: Only those of this backend.
        node: Only those with a replica on this worker: its node id or its name.
    """

    limit: int = MAX_LIMIT
    cursor: str = ""
    state: str = ""
    model: str = ""
    backend: str = ""
    node: str = ""


@CATALOG.message("serving.describe_nodes", senders={"gateway"})
@frozen
class DescribeNodes:
    """List nodes.

    Attributes:
        state: Only those that are ``up``, ``suspect`` or ``down``; "" for all.
        role: Only those of this role: ``worker`` or ``gateway``.
    """

    limit: int = MAX_LIMIT
    cursor: str = ""
    state: str = ""
    role: str = ""


@CATALOG.message("serving.describe_cluster", senders={"gateway"})
@frozen
class DescribeCluster:
    """List deployments, without their settings, and after the last of them the nodes.

    The attributes are those of ``DescribeDeployments``. With any of the filters no nodes are listed.
    """

    limit: int = MAX_LIMIT
    cursor: str = ""
    state: str = ""
    model: str = ""
    backend: str = ""
    node: str = ""


@CATALOG.message("serving.describe_events", senders={"gateway"})
@frozen
class DescribeEvents:
    """List entries of the journal, in the order of their numbers.

    Attributes:
        limit: The most entries.
        after: Only those with higher numbers, the first ones; None for the newest ones. Numbers are in
            microseconds since the epoch.
        subject: Only those about this deployment (its id), about all deployments of this model, or about this
            node (its id or its name); "" for all.
        kind: Only those of this kind, as ``replica.placed``, or of this family, as ``replica``.
    """

    limit: int = 100
    after: int | None = None
    subject: str = ""
    kind: str = ""


@CATALOG.message("serving.await_events", senders={"gateway"})
@frozen
class AwaitEvents:
    """As ``events``, but where there are none yet, it is answered when there are, or after ``seconds``."""

    events: DescribeEvents
    seconds: float


# ---- as the cluster's own HTTP shows them: asked by the head's node only


@frozen
class DescribeWorkers:
    """List workers.

    Attributes:
        state: Only those that are ``up``, ``suspect`` or ``down``; "" for all.
    """

    limit: int = MAX_LIMIT
    cursor: str = ""
    state: str = ""


@frozen
class DescribeWorker:
    """Describe one worker: by its node id, or by its name where only one has it."""

    worker: str


@frozen
class DescribeInstances:
    """List replicas: by deployment, then by revision and number.

    Attributes:
        deployment: Only those of the deployment with this id.
        node: Only those on this worker: its node id or its name.
        state: Only those in this state, see ``InstanceState``.
    """

    limit: int = MAX_LIMIT
    cursor: str = ""
    deployment: str = ""
    node: str = ""
    state: str = ""


@frozen
class DescribeInstance:
    """Describe one replica; how often it was started, at the end of its id, counts for nothing."""

    instance: str


ListQuestion: TypeAlias = (
    DescribeDeployments | DescribeNodes | DescribeCluster | DescribeWorkers | DescribeInstances
)
JournalQuestion: TypeAlias = DescribeEvents | AwaitEvents
Question: TypeAlias = ListQuestion | DescribeDeployment | DescribeWorker | DescribeInstance
