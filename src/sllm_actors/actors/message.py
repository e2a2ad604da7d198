"""The closed set of messages: frozen attrs classes, each under the name that it has on the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import attrs

from .identity import NodeId

T = TypeVar("T")


@attrs.frozen
class SenderRule:
    """From which nodes a message is taken.

    Attributes:
        roles: Their roles; None for any node.
        field: The field that must name the node which sends it; "" for none.
    """

    roles: frozenset[str] | None = None
    field: str = ""


class Catalog:
    """Which message classes exist, and by what names peers know them.

    A room declares its own catalog in its ``messages.py``; a node merges those of the rooms it runs. Nothing
    outside the merged catalog can be received, so a peer can never name a class for us to import.

    Args:
        parts: Catalogs to merge.

    Raises:
        ValueError: Two parts use one name for different classes, or give one class two names.
    """

    def __init__(self, *parts: Catalog) -> None:
        self._by_name: dict[str, type] = {}
        self._by_type: dict[type, str] = {}
        self._senders: dict[type, SenderRule] = {}
        for part in parts:
            for name, cls in part:
                self._add(name, cls, part.sender_rule(cls))

    def message(
        self, name: str, *, senders: Iterable[str] | None = None, names_sender: str = ""
    ) -> Callable[[type[T]], type[T]]:
        """Register the decorated class under ``name`` (``room.noun``, which must never change its meaning).

        Args:
            name: The name on the wire.
            senders: The roles of the nodes from which it is taken; none of them for a message that is only an
                answer, or stays within a node. By default it is taken from any node.
            names_sender: The field that names the node which sends it: taken only if that is true.

        Raises:
            ValueError: The name or the class is registered already, the class is not a frozen attrs class, or
                it has no such field.
        """
        rule = SenderRule(None if senders is None else frozenset(senders), names_sender)

        def register(cls: type[T]) -> type[T]:
            self._add(name, cls, rule)
            return cls

        return register

    def name_of(self, cls: type) -> str | None:
        """Return the wire name of a message class, or None when it is not in the set."""
        return self._by_type.get(cls)

    def type_of(self, name: str) -> type | None:
        """Return the message class of that wire name, or None when it is not in the set."""
        return self._by_name.get(name)

    def sender_rule(self, cls: type) -> SenderRule:
        """Return from which nodes a message of this class is taken."""
        return self._senders[cls]

    def why_not(self, message: Any, node: NodeId, role: str) -> str:
        """Say why a message is not taken from a node of that id and role; "" when it is.

        Messages that are sent within a node, and answers, are not asked about.
        """
        rule = self._senders[type(message)]
        if rule.roles is not None and role not in rule.roles:
            return f"{self._by_type[type(message)]} is not taken from a {role}"
        if rule.field and getattr(message, rule.field) != node:
            return f"{self._by_type[type(message)]} names another node than the one that sent it"
        return ""

    def __iter__(self) -> Iterator[tuple[str, type]]:
        return iter(sorted(self._by_name.items()))

    def _add(self, name: str, cls: type[Any], rule: SenderRule) -> None:
        if not attrs.has(cls) or cls.__setattr__ is object.__setattr__:
            raise ValueError(f"message {name!r}: {cls.__qualname__} is not a frozen attrs class")
        if self._by_name.get(name, cls) is not cls or self._by_type.get(cls, name) != name:
            raise ValueError(f"message {name!r} ({cls.__qualname__}) is registered twice")
        if self._senders.get(cls, rule) != rule:
            raise ValueError(f"message {name!r} ({cls.__qualname__}) is registered with two rules of senders")
        if rule.field and rule.field not in attrs.fields_dict(cls):
            raise ValueError(f"message {name!r} ({cls.__qualname__}) has no field {rule.field!r}")
        self._by_name[name] = cls
        self._by_type[cls] = name
        self._senders[cls] = rule
