"""The key pair of a node or of a head: Ed25519, by the ``cryptography`` package. Only computation, no I/O."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

PUBLIC_KEY_SIZE: Final = 32  # bytes
SIGNATURE_SIZE: Final = 64  # bytes
SEED_SIZE: Final = 32  # bytes


class KeyPair:
    """A private key, and the public key that belongs to it.

    Attributes:
        public_key: The public key, ``PUBLIC_KEY_SIZE`` bytes.
    """

    __slots__ = ("_private", "public_key")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public_key: bytes = private.public_key().public_bytes_raw()

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """Return the key pair of ``SEED_SIZE`` secret bytes: random ones, except in tests.

        Raises:
            ValueError: The seed has another length.
        """
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def from_pem(cls, text: bytes) -> Self:
        """Read what ``to_pem`` wrote.

        Raises:
            ValueError: The text is no private key in PEM, is encrypted, or is a key of another kind.
        """
        try:
            private = load_pem_private_key(text, None)
        except Exception as error:
            raise ValueError("holds no private key") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise ValueError("holds a key of another kind than Ed25519")  # noqa: TRY004 - of a file's content
        return cls(private)

    def to_pem(self) -> bytes:
        """Return the private key as PEM (PKCS #8, not encrypted), as ``openssl genpkey`` writes it."""
        return self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def sign(self, data: bytes) -> bytes:
        """Return the signature of these bytes; the same bytes give the same signature."""
        return self._private.sign(data)

    def __repr__(self) -> str:
        return f"KeyPair({self.public_key.hex()[:8]}…)"


def is_signed_by(public_key: bytes, signature: bytes, data: bytes) -> bool:
    """Tell whether the owner of a public key has signed these bytes. False for what is no key, too."""
    try:
        _public_key(public_key).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(maxsize=4096)
def _public_key(raw: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(raw)
