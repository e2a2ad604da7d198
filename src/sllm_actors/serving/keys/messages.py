"""From gateways to the head: a client wants API keys listed or changed. From the head: which keys there are.

Each question is answered with ``ControlAnswer``.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from attrs import field, frozen

from sllm_actors.actors import Catalog

CATALOG = Catalog()

ADMIN: Final = "admin"
"""The name of the head's admin key where keys have names."""


@CATALOG.message("serving.create_key", senders={"gateway"})
@frozen
class CreateKey:
    """Add a key. The gateway that was asked has made it, and shows it to its owner: the head never sees it.

    Attributes:
        name: What people call it; see ``requests.NAME``.
        digest: See ``secret.digest_of``.
        share: See ``gateway.routing.flow``.
    """

    name: str
    digest: str = field(repr=False)
    share: float = 1.0


@CATALOG.message("serving.update_key", senders={"gateway"})
@frozen
class UpdateKey:
    """Give the key of this name another share."""

    name: str
    share: float


@CATALOG.message("serving.delete_key", senders={"gateway"})
@frozen
class DeleteKey:
    """Delete the key of this name: gateways refuse it as soon as they hear of that."""

    name: str


@CATALOG.message("serving.list_keys", senders={"gateway"})
@frozen
class ListKeys:
    """List all keys, in the order of their names."""


KeyRequest: TypeAlias = CreateKey | UpdateKey | DeleteKey | ListKeys


@frozen
class KnownKey:
    """What gateways know of a key: an entry of the stream ``KEYS``.

    Attributes:
        name: What people call it.
        digest: See ``secret.digest_of``.
        share: Of what there is, beside those of others.
        admin: Whether it opens everything, and not only what is for users of models.
    """

    name: str
    digest: str = field(repr=False)
    share: float = 1.0
    admin: bool = False
