"""The messages between head, workers and gateways: to see what these nodes say to each other, start here.

============= ========================= ==============================================================
module        from → to                 about
============= ========================= ==============================================================
``orders``    head → worker             what to do about a replica
``inventory`` worker → head             what the worker's machine has
``replicas``  gateway → worker          a replica that is let go, sleeps, wakes, or has made a response
``demand``    gateway → head            what clients want of a deployment
``gateways``  gateway → head            what people call a gateway
``deaths``    gateway → head → gateways which requests engines died of
``routes``    head → gateways           which deployments to serve, and which workers to connect to
``changes``   gateway → head            a deployment, a rollout or a node that a client wants changed
``answers``   head, worker → gateway    what becomes of a client's request
============= ========================= ==============================================================

Orders, routes, worker addresses, demand and deaths are not sent one by one: they are the entries of streams
of differences, see ``serving.streams``.

The actors that take these messages have the same names on all nodes of a role: ``CONTROLLER`` on the head,
``WORKER`` on each worker, ``GATEWAY`` on each gateway.
"""

from __future__ import annotations

from typing import Final

from sllm_actors.actors import Catalog
from sllm_actors.serving.differences.messages import CATALOG as DIFFERENCES

from . import answers, changes, deaths, gateways, inventory, orders, refused, replicas
from .answers import ControlAnswer, Done, Refusal, RefusalKind
from .changes import (
    ControlChange,
    DeleteDeployment,
    Deploy,
    DrainNode,
    PauseRollout,
    RemoveNode,
    ResumeRollout,
    UndrainNode,
    UpdateDeployment,
)
from .deaths import DIGEST_BYTES, MOST_DIGESTS, DeathKey, EngineDeath, ReportDeath
from .demand import Demand
from .gateways import GatewayNamed, UnreachedWorker, WorkersUnreached
from .inventory import Gpu, Inventory, WorkerInventory
from .orders import Order, ReadDocument, ReplicaDocument
from .refused import RefusedSoFar
from .replicas import FindResponse, ResponseFound, ResponseMade, SleepInstance, WakeInstance, Withdrawn
from .routes import ServedModel, WorkerAddress

CATALOG: Final = Catalog(
    DIFFERENCES,
    answers.CATALOG,
    changes.CATALOG,
    deaths.CATALOG,
    gateways.CATALOG,
    inventory.CATALOG,
    orders.CATALOG,
    refused.CATALOG,
    replicas.CATALOG,
)

CONTROLLER: Final = "controller"
WORKER: Final = "worker"
GATEWAY: Final = "gateway"

__all__ = [
    "CATALOG",
    "CONTROLLER",
    "DIGEST_BYTES",
    "GATEWAY",
    "MOST_DIGESTS",
    "WORKER",
    "ControlAnswer",
    "ControlChange",
    "DeathKey",
    "DeleteDeployment",
    "Demand",
    "Deploy",
    "Done",
    "DrainNode",
    "EngineDeath",
    "FindResponse",
    "GatewayNamed",
    "Gpu",
    "Inventory",
    "Order",
    "PauseRollout",
    "ReadDocument",
    "Refusal",
    "RefusalKind",
    "RefusedSoFar",
    "RemoveNode",
    "ReplicaDocument",
    "ReportDeath",
    "ResponseFound",
    "ResponseMade",
    "ResumeRollout",
    "ServedModel",
    "SleepInstance",
    "UndrainNode",
    "UnreachedWorker",
    "UpdateDeployment",
    "WakeInstance",
    "Withdrawn",
    "WorkerAddress",
    "WorkerInventory",
    "WorkersUnreached",
]
