"""The streams of differences between head, workers and gateways; see ``differences`` for what they promise.

======== ================== ======================= ====================================================
stream   publisher          followers               entries
======== ================== ======================= ====================================================
orders   head, one for each that worker             ``Order`` by replica: what to run, and what to stop
         worker
replicas worker             the head, and gateways  ``ReplicaReport`` by replica
routes   head               gateways                ``ServedModel`` by deployment id
addresses head              gateways                ``WorkerAddress`` by worker
demand    gateway           the head                ``Demand`` by deployment id
deaths    head              gateways                ``EngineDeath`` by engine life and gateway
keys      head              gateways                ``KnownKey`` by name
======== ================== ======================= ====================================================

The life of the publisher of orders is the head's epoch: a worker takes none of an epoch that is lower than
one that it obeyed before.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from sllm_actors.actors import Catalog
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaReport

from .differences.messages import AskPage, Difference, Page, Stream
from .keys.messages import CATALOG as KEY_MESSAGES
from .keys.messages import KnownKey
from .messages import CATALOG as MESSAGES
from .messages import DeathKey, Demand, EngineDeath, Order, ServedModel, WorkerAddress

CATALOG = Catalog(MESSAGES, KEY_MESSAGES)


@CATALOG.message("serving.orders_difference", senders={"head"}, names_sender="node")
@frozen
class OrdersDifference(Difference[ReplicaKey, Order]):
    """Orders of one worker that have changed."""


@CATALOG.message("serving.orders_page", senders={"head"}, names_sender="node")
@frozen
class OrdersPage(Page[ReplicaKey, Order]):
    """A part of all orders of one worker."""


@CATALOG.message("serving.ask_orders", senders={"worker"}, names_sender="node")
@frozen
class AskOrders(AskPage[ReplicaKey]):
    """From a worker: say all orders again."""


@CATALOG.message("serving.replicas_difference", senders={"worker"}, names_sender="node")
@frozen
class ReplicasDifference(Difference[ReplicaKey, ReplicaReport]):
    """Replicas of a worker whose state has changed."""


@CATALOG.message("serving.replicas_page", senders={"worker"}, names_sender="node")
@frozen
class ReplicasPage(Page[ReplicaKey, ReplicaReport]):
    """A part of all replicas of a worker."""


@CATALOG.message("serving.ask_replicas", senders={"head", "gateway"}, names_sender="node")
@frozen
class AskReplicas(AskPage[ReplicaKey]):
    """From the head or a gateway: say all replicas again."""


@CATALOG.message("serving.routes_difference", senders={"head"}, names_sender="node")
@frozen
class RoutesDifference(Difference[str, ServedModel]):
    """Deployments whose route has changed."""


@CATALOG.message("serving.routes_page", senders={"head"}, names_sender="node")
@frozen
class RoutesPage(Page[str, ServedModel]):
    """A part of all routes."""


@CATALOG.message("serving.ask_routes", senders={"gateway"}, names_sender="node")
@frozen
class AskRoutes(AskPage[str]):
    """From a gateway: say all routes again."""


@CATALOG.message("serving.addresses_difference", senders={"head"}, names_sender="node")
@frozen
class AddressesDifference(Difference[str, WorkerAddress]):
    """Workers whose address has changed."""


@CATALOG.message("serving.addresses_page", senders={"head"}, names_sender="node")
@frozen
class AddressesPage(Page[str, WorkerAddress]):
    """A part of all addresses."""


@CATALOG.message("serving.ask_addresses", senders={"gateway"}, names_sender="node")
@frozen
class AskAddresses(AskPage[str]):
    """From a gateway: say all addresses again."""


@CATALOG.message("serving.deaths_difference", senders={"head"}, names_sender="node")
@frozen
class DeathsDifference(Difference[DeathKey, EngineDeath]):
    """Engines that have died, and deaths that are no longer told of."""


@CATALOG.message("serving.deaths_page", senders={"head"}, names_sender="node")
@frozen
class DeathsPage(Page[DeathKey, EngineDeath]):
    """A part of all deaths."""


@CATALOG.message("serving.ask_deaths", senders={"gateway"}, names_sender="node")
@frozen
class AskDeaths(AskPage[DeathKey]):
    """From a gateway: say all deaths again."""


@CATALOG.message("serving.keys_difference", senders={"head"}, names_sender="node")
@frozen
class KeysDifference(Difference[str, KnownKey]):
    """Keys that are new, have changed or are gone."""


@CATALOG.message("serving.keys_page", senders={"head"}, names_sender="node")
@frozen
class KeysPage(Page[str, KnownKey]):
    """A part of all keys."""


@CATALOG.message("serving.ask_keys", senders={"gateway"}, names_sender="node")
@frozen
class AskKeys(AskPage[str]):
    """From a gateway: say all keys again."""


@CATALOG.message("serving.demand_difference", senders={"gateway"}, names_sender="node")
@frozen
class DemandDifference(Difference[str, Demand]):
    """Deployments of which the clients of a gateway want more or less."""


@CATALOG.message("serving.demand_page", senders={"gateway"}, names_sender="node")
@frozen
class DemandPage(Page[str, Demand]):
    """A part of the demand at a gateway."""


@CATALOG.message("serving.ask_demand", senders={"head"}, names_sender="node")
@frozen
class AskDemand(AskPage[str]):
    """From the head: say all demand again."""


def _key_of_order(order: Order) -> ReplicaKey:
    return order.key


def _key_of_report(report: ReplicaReport) -> ReplicaKey:
    return report.id.key


def _id_of(model: ServedModel) -> str:
    return model.id


def _deployment_of(demand: Demand) -> str:
    return demand.deployment


def _node_of(address: WorkerAddress) -> str:
    return address.node


def _key_of_death(death: EngineDeath) -> DeathKey:
    return death.key


def _name_of(key: KnownKey) -> str:
    return key.name


ORDERS: Final = Stream("orders", _key_of_order, OrdersDifference, OrdersPage, AskOrders)
REPLICAS: Final = Stream("replicas", _key_of_report, ReplicasDifference, ReplicasPage, AskReplicas)
ROUTES: Final = Stream("routes", _id_of, RoutesDifference, RoutesPage, AskRoutes)
ADDRESSES: Final = Stream("addresses", _node_of, AddressesDifference, AddressesPage, AskAddresses)
DEATHS: Final = Stream("deaths", _key_of_death, DeathsDifference, DeathsPage, AskDeaths)
KEYS: Final = Stream("keys", _name_of, KeysDifference, KeysPage, AskKeys)
DEMAND: Final = Stream("demand", _deployment_of, DemandDifference, DemandPage, AskDemand)
