"""The keys that open the gateway, as the head has told of them, found by what is known of a key. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import frozen

from sllm_actors.gateway.routing.flow import Flow
from sllm_actors.serving.keys.messages import ADMIN, KnownKey


@frozen
class KeyOwner:
    """Whose a key is.

    Attributes:
        flow: The flow of the requests that have it.
        admin: Whether it opens everything, and not only what is for users of models.
    """

    flow: Flow
    admin: bool = False


OWNER: Final = KeyOwner(Flow(ADMIN), admin=True)
"""Whoever has the admin key of the gateway's own machine."""


class KnownKeys:
    """All keys. The gateway's actor changes them; each request looks one up.

    Args:
        own: The digest of the admin key of the gateway's own machine; "" for none.

    Attributes:
        edition: Rises with each change; never 0. What was found in one edition holds until the next one.
    """

    def __init__(self, own: str = "") -> None:
        self.edition = 1
        self._own = own
        self._known: dict[str, KnownKey] = {}
        self._owners = {own: OWNER} if own else {}

    def find(self, digest: str) -> KeyOwner | None:
        """Return whose the key with that digest is, or None if it is nobody's."""
        return self._owners.get(digest)

    def entries(self) -> tuple[KnownKey, ...]:
        """Return the keys that the head has told of."""
        return tuple(self._known.values())

    def names(self) -> tuple[str, ...]:
        """Return their names."""
        return tuple(self._known)

    def learn(self, keys: Iterable[KnownKey] = (), gone: Iterable[str] = ()) -> bool:
        """Learn of keys that are new or have changed, and of names whose keys are gone.

        Returns:
            Whether anything is another than before.
        """
        before = self.edition
        for name in gone:
            self._forget(name)
        for key in keys:
            if self._known.get(key.name) != key:
                self._forget(key.name)
                self._known[key.name] = key
                self._owners[key.digest] = KeyOwner(Flow(key.name, key.share), key.admin)
                self.edition += 1
        return self.edition != before

    def _forget(self, name: str) -> None:
        key = self._known.pop(name, None)
        if key is not None:
            self.edition += 1
            if key.digest == self._own:
                self._owners[key.digest] = OWNER
            else:
                del self._owners[key.digest]
