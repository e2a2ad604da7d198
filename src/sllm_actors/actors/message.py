"""The closed set of messages: frozen attrs classes, each under the name that it has on the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import attrs

T = TypeVar("T")


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
        for part in parts:
            for name, cls in part:
                self._add(name, cls)

    def message(self, name: str) -> Callable[[type[T]], type[T]]:
        """Register the decorated class under ``name`` (``room.noun``, which must never change its meaning).

        Raises:
            ValueError: The name or the class is registered already, or the class is not a frozen attrs class.
        """

        def register(cls: type[T]) -> type[T]:
            self._add(name, cls)
            return cls

        return register

    def name_of(self, cls: type) -> str | None:
        """Return the wire name of a message class, or None when it is not in the set."""
        return self._by_type.get(cls)

    def type_of(self, name: str) -> type | None:
        """Return the message class of that wire name, or None when it is not in the set."""
        return self._by_name.get(name)

    def __iter__(self) -> Iterator[tuple[str, type]]:
        return iter(sorted(self._by_name.items()))

    def _add(self, name: str, cls: type[Any]) -> None:
        if not attrs.has(cls) or cls.__setattr__ is object.__setattr__:
            raise ValueError(f"message {name!r}: {cls.__qualname__} is not a frozen attrs class")
        if self._by_name.get(name, cls) is not cls or self._by_type.get(cls, name) != name:
            raise ValueError(f"message {name!r} ({cls.__qualname__}) is registered twice")
        self._by_name[name] = cls
        self._by_type[cls] = name
