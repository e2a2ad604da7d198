"""API keys."""

from __future__ import annotations

from attrs import field, frozen


@frozen
class KeyDocument:
    """An API key, as ``GET /keys`` and ``PATCH /keys/{name}`` show it.

    Attributes:
        name: What people call it.
        share: Its share beside those of other keys.
        created: When it was made.
    """

    name: str
    share: float = 1.0
    created: float = 0.0


@frozen
class MadeKeyDocument:
    """The answer to ``POST /keys``.

    Attributes:
        name: What people call the key.
        key: The key itself.
    """

    name: str
    key: str = field(repr=False)


@frozen
class KeysDocument:
    """The answer to ``GET /keys``."""

    keys: list[KeyDocument]


@frozen
class DeletedKeyDocument:
    """The answer to ``DELETE /keys/{name}``: what has happened, in a sentence."""

    message: str = ""
