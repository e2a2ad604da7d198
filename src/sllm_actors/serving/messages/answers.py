"""The answer to a client's request: it was carried out, or it is refused."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

from attrs import frozen

from sllm_actors.actors import Catalog
from sllm_actors.serving.deployment.problem import Mistake

CATALOG = Catalog()


@CATALOG.message("serving.done", senders=())
@frozen
class Done:
    """A request was carried out, or will be.

    Attributes:
        document: The answer for the client: JSON text, to be passed on unchanged.
        pending: Whether it has only begun, and ends by itself.
        next: Of a list, the cursor of the page that follows; "" if none does.
    """

    document: str
    pending: bool = False
    next: str = ""


class RefusalKind(StrEnum):
    """Why a request is refused.

    ``INVALID`` and ``TOO_LARGE``: it can never succeed; ``UNKNOWN``: what it names does not exist;
    ``CONFLICT``: something that exists is in its way; ``UNAVAILABLE``: it may succeed later.
    """

    INVALID = "invalid"
    TOO_LARGE = "too_large"
    UNKNOWN = "unknown"
    CONFLICT = "conflict"
    UNAVAILABLE = "unavailable"


@CATALOG.message("serving.refusal", senders=())
@frozen
class Refusal:
    """A request was not carried out.

    Attributes:
        kind: Why, for the HTTP status.
        code: Why, for programs: one word.
        message: One sentence for a person, with the remedy.
        param: The field of the request that is wrong, or None.
        retry_after: Seconds after which to ask again, or None.
        mistakes: What is wrong with a document, each with its field; ``message`` tells all of it.
    """

    kind: RefusalKind
    code: str
    message: str
    param: str | None = None
    retry_after: float | None = None
    mistakes: tuple[Mistake, ...] = ()


ControlAnswer: TypeAlias = Done | Refusal
