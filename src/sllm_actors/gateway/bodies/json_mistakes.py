"""Says in one sentence why a body is not the JSON object that it should be. Pure.

Every reader of bodies raises these errors, so that the same mistake gets the same sentence everywhere.
"""

from __future__ import annotations

import re

import msgspec

from sllm_actors.api_error import ApiError
from sllm_actors.gateway import errors

MISTAKES = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""All that msgspec raises about bytes; ``mistake`` makes an ``ApiError`` of it."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""What some editors and shells write before a text in UTF-8. Engines skip it, so the gateway does, too."""

_BYTE = re.compile(r"\(byte (\d+)\)")
_NO_NUMBER = re.compile(rb"NaN|Infinity")
_HALF_AT_THE_END = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}[^\\]{1,6}\Z")
_NOT_UTF_8 = (b"\xff\xfe", b"\xfe\xff")  # the byte order marks of UTF-16


def mistake(error: Exception, body: bytes) -> ApiError:
    """Return the 400 ``invalid_json`` that tells what is wrong with ``body``.

    Args:
        error: One of ``MISTAKES``, raised for these bytes.
        body: The bytes, as they were given to msgspec.
    """
    return errors.bad_request(f"the request's body {_sentence(error, body)}", code="invalid_json")


def _sentence(error: Exception, body: bytes) -> str:
    if isinstance(error, RecursionError):
        return "is nested too deeply: send JSON with fewer levels of lists and objects"
    if isinstance(error, msgspec.ValidationError):
        return "must be a JSON object"
    if not body.strip():
        return "is empty: it must be a JSON object"
    if isinstance(error, UnicodeDecodeError) or body.startswith(_NOT_UTF_8):
        return "is not JSON: it must be in UTF-8"
    return f"is not JSON: {_reason(str(error), body)}"


def _reason(said: str, body: bytes) -> str:
    place = _BYTE.search(said)
    if "surrogate" in said or "hex escape" in said or _HALF_AT_THE_END.search(body, len(body) - 12):
        return "a \\u escape in it is one half of a pair (a lone surrogate), which is no character"
    if place is None:
        return "it ends too early"
    if _NO_NUMBER.match(body, int(place[1])):
        return f"NaN and Infinity are no numbers in JSON (byte {place[1]})"
    return said.removeprefix("JSON is malformed: ")
