"""Messages to plain values and back: the closed set of a catalog, structured by cattrs, written by msgpack.

Only classes of the catalog can come out of bytes. Fields that the receiver does not know are ignored and
missing ones take their defaults, so that two versions of a room can talk. What has its default is not sent:
most fields of large messages have, and reading them is what receivers spend most of their time on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
from cattrs.preconf.msgpack import MsgpackConverter, make_converter

from sllm_actors.actors.errors import UnknownMessage
from sllm_actors.actors.identity import Address, Incarnation, NodeId
from sllm_actors.actors.message import Catalog

DETAIL_LIMIT = 300
"""Characters that an error passes on of the exception behind it."""

Hooks = Callable[[MsgpackConverter], None]
"""Adds conversions of types that only the node knows, as of ``ActorRef``."""


class Codec:
    """Turns messages into ``(name, plain value)`` and back.

    Args:
        catalog: The closed set of message classes.
        hooks: Conversions of further types.
    """

    def __init__(self, catalog: Catalog, hooks: Hooks | None = None) -> None:
        self._catalog = catalog
        self._converter = wire_converter()
        self._converter.register_unstructure_hook(Address, address_to_wire)
        self._converter.register_structure_hook(Address, lambda raw, _: address_from_wire(raw))
        if hooks is not None:
            hooks(self._converter)
        self._out: dict[type, tuple[str, Callable[[Any], Any]]] = {}
        self._in: dict[str, tuple[type, Callable[[Any, Any], Any]]] = {}

    def to_wire(self, message: Any) -> tuple[str | None, Any]:
        """Return the name and the plain value of a message; ``(None, None)`` for None, which a reply may be.

        Raises:
            UnknownMessage: Its class is not in the catalog, or a field holds what its type does not allow.
        """
        if message is None:
            return None, None
        cls = type(message)
        try:
            name, unstructure = self._out.get(cls) or self._learn_to_write(cls)
            return name, unstructure(message)
        except UnknownMessage:
            raise
        except Exception as error:
            raise UnknownMessage(f"a {cls.__qualname__} cannot be sent: {_detail(error)}") from error

    def from_wire(self, name: object, value: Any) -> Any:
        """Return the message of that name.

        Raises:
            UnknownMessage: The name is not in the catalog, or the value does not fit its class.
        """
        if name is None:
            return None
        known = self._in.get(name) if isinstance(name, str) else None
        cls, structure = known or self._learn_to_read(name)
        if not isinstance(value, dict):
            raise UnknownMessage(f"a {name!r} is a map of its fields")
        try:
            return structure(value, cls)
        except Exception as error:
            raise UnknownMessage(f"a {name!r} cannot be read: {_detail(error)}") from error

    def why_not(self, message: Any, node: NodeId, role: str) -> str:
        """Say why a message is not taken from a node of that id and role; "" when it is."""
        return self._catalog.why_not(message, node, role)

    def _learn_to_write(self, cls: type) -> tuple[str, Callable[[Any], Any]]:
        name = self._catalog.name_of(cls)
        if name is None:
            raise UnknownMessage(f"{cls.__qualname__} is not in the catalog of messages")
        known = self._out[cls] = (name, self._converter.get_unstructure_hook(cls))
        return known

    def _learn_to_read(self, name: object) -> tuple[type, Callable[[Any, Any], Any]]:
        cls = self._catalog.type_of(name) if isinstance(name, str) else None
        if cls is None or not isinstance(name, str):
            called = repr(name[:100]) if isinstance(name, str) else f"by a {type(name).__name__}"
            raise UnknownMessage(f"no message is called {called} here")
        known = self._in[name] = (cls, self._converter.get_structure_hook(cls))
        return known


def wire_converter() -> MsgpackConverter:
    """Return what turns attrs classes into plain values as they are sent, and back."""
    return make_converter(detailed_validation=False, omit_if_default=True)


def pack(value: Any) -> bytes:
    """Return a plain value as msgpack.

    Raises:
        UnknownMessage: The value holds something that msgpack cannot write.
    """
    try:
        return bytes(msgpack.packb(value))
    except (ValueError, TypeError, OverflowError) as error:
        raise UnknownMessage(f"it cannot be sent: {_detail(error)}") from error


def unpack(body: bytes | memoryview) -> Any:
    """Read a plain value from msgpack.

    Raises:
        UnknownMessage: The bytes are not exactly one msgpack value.
    """
    try:
        return msgpack.unpackb(body, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise UnknownMessage(f"it is not msgpack: {_detail(error)}") from error


def address_to_wire(address: Address) -> list[Any]:
    """Return an address as ``[node, counter, nonce, key]``; counter and nonce are None for a name."""
    life = address.incarnation
    if life is None:
        return [address.node, None, None, address.key]
    return [address.node, life.counter, life.nonce, address.key]


def address_from_wire(raw: Any) -> Address:
    """Read an address; what follows its four items is ignored.

    Raises:
        ValueError: The value is no address. (One that is no sequence at all raises ``TypeError``.)
    """
    node, counter, nonce, key = raw[:4]
    if not isinstance(node, str) or not is_key(key):
        raise ValueError("not an address")
    if counter is None:
        return Address(NodeId(node), None, key)
    if not is_count(counter) or not is_count(nonce):
        raise ValueError("not an incarnation")
    return Address(NodeId(node), Incarnation(counter, nonce), key)


def is_key(value: object) -> bool:
    """Tell whether a value can be the key of an address: a number, or a name of bounded length."""
    return is_count(value) or (isinstance(value, str) and 0 < len(value) <= 1024)


def is_count(value: object) -> bool:
    """Tell whether a value is a number that is never negative."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _detail(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:DETAIL_LIMIT]
