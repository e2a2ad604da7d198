"""Whose each node id is, as far as the head's actor has to do with it."""

from __future__ import annotations

from typing import Protocol


class Identities(Protocol):
    """Which keys node ids are bound to."""

    def __contains__(self, node: object) -> bool:
        """Return whether an id is bound."""
        ...

    def forget(self, node: str, *, linked: bool) -> None:
        """Take note that the store does not have the binding of a node any more.

        Args:
            node: Its id.
            linked: Whether it is linked all the same: then it is to be stored again.
        """
        ...


class NoIdentities:
    """Nobody is bound."""

    def __contains__(self, node: object) -> bool:
        return False

    def forget(self, node: str, *, linked: bool) -> None:
        """Do nothing."""
