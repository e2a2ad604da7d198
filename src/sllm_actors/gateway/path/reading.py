"""What a request asks of engines, read of its head and of its body. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from sllm_actors.gateway.bodies.content_coding import coding_of, decoded
from sllm_actors.gateway.bodies.form import FormReader, is_form, read_form, with_form_changes
from sllm_actors.gateway.bodies.json_mistakes import BYTE_ORDER_MARK
from sllm_actors.gateway.bodies.keep_alive import seconds_of
from sllm_actors.gateway.bodies.members import Member
from sllm_actors.gateway.bodies.request_fields import ABSENT, RequestFields, read_fields
from sllm_actors.gateway.bodies.rewriting import members_of, with_changes
from sllm_actors.gateway.surface import BY_BODY, Destination, ModelIn

from .clients.request_head import RequestHead
from .clients.upload import Upload

READ_HERE = 2**20
"""Bytes of a body that are read on the event loop; a larger one is read in a thread."""


class Reading(msgspec.Struct, frozen=True, gc=False):
    """A request that was read.

    Attributes:
        destination: What its first line says.
        fields: What its body says. Of a body that does not name the model nothing is read: ``fields`` has
            the model that the query names, if one does.
        body: Its body, decoded.
        form: What has read the body, if that is a form.
        members: The members of a large body, found where the event loop does not wait for it.
        keep_alive: See ``Asked``.
        upload: The body, if that is a form which is passed on as it comes; ``body`` is empty then.
    """

    destination: Destination
    fields: RequestFields
    body: bytes
    form: FormReader | None = None
    members: Sequence[Member] | None = None
    keep_alive: float | None = None
    upload: Upload | None = None

    def body_with(self, change: Mapping[str, Any], drop: Collection[str] = ()) -> bytes:
        """Return the body with other values for some of its keys or fields, and without others.

        A body that does not name the model stays as it is.
        """
        if not (change or drop) or self.destination.model_in is not ModelIn.BODY:
            return self.body
        if self.form is not None:
            return with_form_changes(self.body, self.form, change, drop)
        return with_changes(self.body, change, drop, self.members)


def is_coded(head: RequestHead) -> bool:
    """Say whether the body of a request may have to be decoded, which takes long for what it becomes."""
    return b"content-encoding" in head.named


def read_request(head: RequestHead, body: bytes, limit: int) -> Reading:
    """Read a request.

    Args:
        head: The head of one that is for engines.
        body: Its body, as it came.
        limit: The most bytes that the body may have when it is decoded.

    Raises:
        ApiError: The body is not of its ``Content-Encoding``, or that is none that the gateway decodes (415);
            it is larger than ``limit`` (413); or it is not what ``read_fields``, ``read_form`` or
            ``seconds_of`` takes.
    """
    if is_coded(head):
        codings = [value for name, value in head.headers if name == b"content-encoding"]
        coding = coding_of(b",".join(codings))
        if coding is not None:
            body = decoded(body, coding, limit)
    destination = head.destination or BY_BODY
    if destination is not BY_BODY:
        return Reading(destination, RequestFields(destination.model), body)
    content_type = head.named.get(b"content-type")
    if content_type is not None and is_form(content_type):
        form = read_form(body, content_type)
        return _reading(destination, form.fields(), body, form)
    fields = read_fields(body)
    if len(body) <= READ_HERE:
        return _reading(destination, fields, body)
    members = list(members_of(body.removeprefix(BYTE_ORDER_MARK)))
    return _reading(destination, fields, body, members=members)


def read_upload(upload: Upload) -> Reading:
    """Read the beginning of a form that is passed on as it comes.

    Raises:
        ApiError: A field that it has there is not what ``seconds_of`` takes (400).
    """
    fields = upload.reader.fields()
    wish = None if fields.keep_alive is UNSET else seconds_of(fields.keep_alive)
    return Reading(BY_BODY, fields, b"", upload.reader, keep_alive=wish, upload=upload)


def _reading(
    destination: Destination,
    fields: RequestFields,
    body: bytes,
    form: FormReader | None = None,
    members: Sequence[Member] | None = None,
) -> Reading:
    wish = None if fields.keep_alive is UNSET else seconds_of(fields.keep_alive)
    return Reading(destination, fields, body, form, members, wish)


def prompt_of(fields: RequestFields) -> bytes | None:
    """Return the bytes by which requests with a common beginning are known; None if there are none."""
    for raw in (fields.messages, fields.prompt, fields.input):
        if raw is not ABSENT:
            return bytes(raw)
    return None


def affinity_of(head: RequestHead, fields: RequestFields) -> bytes | None:
    """Return what keeps the requests of a session together; None if it is of none."""
    session = head.named.get(b"x-session-id")
    if session:
        return session
    named = fields.prompt_cache_key or fields.user
    return named.encode() if named else None
