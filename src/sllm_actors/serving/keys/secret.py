"""Making API keys, and what is kept of them."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

PREFIX: Final = "sllm-key-"
"""How each key begins, so that one that turns up where it should not is known for what it is."""

RANDOM_BYTES: Final = 32


def make_secret() -> str:
    """Return a new key: visible ASCII characters, for a header."""
    return PREFIX + secrets.token_urlsafe(RANDOM_BYTES)


def digest_of(secret: bytes) -> str:
    """Return what is kept of a key: its SHA-256 in hex.

    A slow hash with a salt protects passwords, which can be guessed. Of 256 random bits nobody guesses any:
    a plain digest tells nothing of them, and is cheap enough for each request.
    """
    return hashlib.sha256(secret).hexdigest()
