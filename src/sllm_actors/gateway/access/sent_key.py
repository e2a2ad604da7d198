"""The key that a client sends. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from sllm_actors.serving.keys.secret import digest_of

LONGEST: Final = 2048
"""Bytes that the header of a key may have."""


@lru_cache(maxsize=4096)
def _digest_in(authorization: bytes) -> str:
    scheme, _, key = authorization.partition(b" ")
    return digest_of(key.strip()) if scheme.lower() == b"bearer" else ""


@lru_cache(maxsize=4096)
def _digest_of(key: bytes) -> str:
    return digest_of(key.strip())


def digest_in(authorization: bytes) -> str:
    """Return the digest of the key in a header ``Authorization: Bearer KEY``; "" for what is none.

    Clients send the same header again and again: its digest is remembered.
    """
    return _digest_in(authorization) if len(authorization) <= LONGEST else ""


def digest_of_bare(key: bytes) -> str:
    """Return the digest of the key in a header ``X-Api-Key: KEY``; "" for what is none. See ``digest_in``."""
    return _digest_of(key) if len(key) <= LONGEST else ""
