"""Reads what a gateway must know of the body of an inference request, and skips the rest. Pure."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

import msgspec

from sllm_actors.gateway import errors

from .json_mistakes import BYTE_ORDER_MARK, MISTAKES, mistake

ABSENT = msgspec.Raw()
"""The value of a raw field that the body has not: no bytes at all, so it is never JSON."""


Whole = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
"""Whole numbers that every JSON decoder reads alike."""


class RequestFields(msgspec.Struct, frozen=True, gc=False):
    """The top-level keys of a body that routing, relay and repeating look at.

    Of a key that comes twice the last value counts, as in engines. A field of a type that it cannot have
    counts as not given, except for ``model``, ``backend`` and ``keep_alive``: engines say what is wrong with
    the rest. Raw fields are spans of the body (no copies, and they keep it in memory), and were checked to be
    JSON.

    Attributes:
        model: The name of a model, or a deployment's id; never empty.
        backend: Which deployment of that model the client wants, or None.
        stream: Whether the client wants server-sent events: only ``true`` asks for them.
        stream_options: What the client wants of a stream, raw.
        user: The client's name for its own user, which session routing may go by.
        prompt_cache_key: What newer clients send in place of ``user`` to keep requests together.
        priority: Requests with a lower number are served first.
        keep_alive: How long the model should stay loaded, as the client wrote it; UNSET if the body has no
            such key.
        n: How many choices the client wants, or None.
        previous_response_id: The stored response that a request to ``/v1/responses`` goes on from.
        messages: The conversation, raw.
        prompt: The prompt of ``/v1/completions``, raw.
        input: The input of ``/v1/responses`` and ``/v1/embeddings``, raw.
        system: The system prompt of ``/v1/messages``, raw.
        instructions: The system prompt of ``/v1/responses``, raw.
    """

    model: str = ""
    backend: str | None = None
    stream: bool | None = None
    stream_options: msgspec.Raw = ABSENT
    user: str | None = None
    prompt_cache_key: str | None = None
    priority: Whole | None = None
    keep_alive: float | str | msgspec.UnsetType | None = msgspec.UNSET
    n: Whole | None = None
    previous_response_id: str | None = None
    messages: msgspec.Raw = ABSENT
    prompt: msgspec.Raw = ABSENT
    input: msgspec.Raw = ABSENT
    system: msgspec.Raw = ABSENT
    instructions: msgspec.Raw = ABSENT


_TYPES = msgspec.structs.fields(RequestFields)
_FIELDS = msgspec.json.Decoder(RequestFields)
# The same keys without their types, for a body in which one of them has another type.
_RAW_FIELDS = msgspec.json.Decoder(
    msgspec.defstruct("_RawFields", [(each.name, msgspec.Raw, ABSENT) for each in _TYPES])
)
_EACH = {each.name: msgspec.json.Decoder(each.type) for each in _TYPES}


def read_fields(body: bytes) -> RequestFields:
    """Read a body. Its nesting may be as deep as the interpreter's limit on recursion allows.

    Raises:
        ApiError: The body is not a JSON object with a ``model`` that is a name, or its ``backend`` is no
            name, or its ``keep_alive`` neither number nor text (400).
    """
    try:
        fields = _FIELDS.decode(body)
    except MISTAKES as error:
        fields = _read_with_care(body, error)
    if not fields.model:
        raise errors.model_required()
    return fields


def _read_with_care(body: bytes, error: Exception) -> RequestFields:
    """Read a body that has a byte order mark or a field of another type, or raise what is wrong with it."""
    marked = body.startswith(BYTE_ORDER_MARK)
    if not marked and not isinstance(error, msgspec.ValidationError):
        raise mistake(error, body) from None
    text = body.removeprefix(BYTE_ORDER_MARK)
    read: dict[str, Any] = {}
    try:
        raw = msgspec.structs.asdict(_RAW_FIELDS.decode(text))
        for name, value in raw.items():
            if value is not ABSENT:
                with suppress(msgspec.ValidationError):
                    read[name] = _EACH[name].decode(value)
    except MISTAKES as worse:
        raise mistake(worse, text) from None
    if raw["backend"] is not ABSENT and "backend" not in read:
        raise errors.bad_request('"backend" must be the name of a backend', param="backend")
    if raw["keep_alive"] is not ABSENT and "keep_alive" not in read:
        raise errors.bad_keep_alive()
    return RequestFields(**read)
