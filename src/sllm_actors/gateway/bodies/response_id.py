"""Finds the id of a stored response in the answer that made it, from the bytes that are relayed. Pure."""

from __future__ import annotations

import re
from contextlib import suppress

import msgspec

from sllm_actors.serving.sticky_ids import LONGEST

from .json_mistakes import MISTAKES

LIMIT = 256 * 2**10
"""Bytes of an answer that are looked at."""

_FIRST = re.compile(rb'\s*\{\s*"id"\s*:\s*("[^"\\]+")')  # as vLLM and OpenAI begin a document
_DATA = re.compile(rb"(?:\A|[\r\n])data:[ \t]*(\{[^\r\n]*)[\r\n]")


class _Response(msgspec.Struct, frozen=True, gc=False):
    id: str = ""


class _Event(msgspec.Struct, frozen=True, gc=False):
    response: _Response = _Response()


class ResponseId:
    """Takes the bytes of one answer of ``/v1/responses``, streamed or not, in any pieces.

    Attributes:
        found: The id, once it is known; ``""`` before, and where the answer has none.
    """

    def __init__(self) -> None:
        self.found = ""
        self._begun = b""
        self._looking = True

    def feed(self, data: bytes) -> None:
        """Take the next bytes. They are kept until the id is found, as far as ``LIMIT`` goes."""
        if not self._looking:
            return
        self._begun += data
        first = _FIRST.match(self._begun)
        event = _DATA.search(self._begun)
        if first is not None:
            with suppress(*MISTAKES):
                self._take(msgspec.json.decode(first[1], type=str))
            self._stop()
        elif event is not None:  # the first one describes the response, or none does
            with suppress(*MISTAKES):
                self._take(msgspec.json.decode(event[1], type=_Event).response.id)
            self._stop()
        elif len(self._begun) > LIMIT:
            self._stop()

    def end(self) -> None:
        """Take the end of the answer: a document is whole now."""
        if self._looking:
            with suppress(*MISTAKES):
                self._take(msgspec.json.decode(self._begun, type=_Response).id)
            self._stop()

    def _take(self, found: str) -> None:
        self.found = found if len(found) <= LONGEST else ""

    def _stop(self) -> None:
        self._looking = False
        self._begun = b""
