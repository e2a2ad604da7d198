"""The handshake, without I/O: both sides prove that they know the cluster secret over everything that was
said.

::

    dialler                          acceptor
    MAGIC HELLO            ──▶
                           ◀──       MAGIC HELLO            (or MAGIC REFUSED)
    PROOF                  ──▶
                           ◀──       PROOF with a verdict   (or REFUSED: wrong secret)
    READY with a verdict   ──▶

Each proof is an HMAC-SHA-256 under the cluster secret over who proves and the digest of all bytes of both
sides so far, its own verdict included: nothing can be replayed (nonces), reflected (the prover is named) or
downgraded (versions and capabilities are in the transcript). A verdict is believed only with its proof; a
bare REFUSED is only words for a person.

The dialler also proves its own credential, where it has one, as SCRAM does (RFC 5802, section 3): whoever
keeps the credential's hash can check the proof, whoever overhears it learns nothing, and the hash is not
enough to make one.

Every message is ``kind (1) | length (2) | body`` and at most ``MESSAGE_LIMIT`` long.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

import msgpack
from attrs import evolve, frozen

from .errors import HandshakeFailed
from .hello import MANDATORY, Code, Hello, decode_hello, encode_hello

MAGIC: Final = b"\x8bSLLM\r\n\x00"
"""Not text, not TLS, and broken by anything that translates line ends."""

MESSAGE_LIMIT: Final = 4096
"""Bytes of the body of one handshake message."""
REASON_LIMIT: Final = 500
"""Characters of the reason in a verdict; longer ones are cut."""
WRONG_SECRET: Final = "wrong cluster secret (use --secret-file or SLLM_CLUSTER_SECRET with the head's)"  # noqa: S105

TLS_FLAGS: Final = "--tls-cert, --tls-key and --tls-ca"
TLS_ALERT: Final = b"\x15\x03\x03\x00\x02\x02\x46"
"""A fatal alert (protocol_version, RFC 8446 section 6), for who uses TLS where there is none, or none where
there is."""

_HEAD: Final = struct.Struct("!BH")
_HELLO: Final = 1
_PROOF: Final = 2
_READY: Final = 3
_REFUSED: Final = 4


@frozen
class Proven:
    """The peer knows the secret (and, at the dialler, has said its verdict): now it is this side's turn to
    judge.

    Attributes:
        code: The acceptor's verdict, as the dialler gets it; ``OK`` at the acceptor.
    """

    hello: Hello
    code: Code = Code.OK
    reason: str = ""


@frozen
class Ready:
    """At the acceptor: the dialler's own verdict, the last word of a handshake."""

    code: Code
    reason: str


class _Stage(Enum):
    HELLO = auto()  # the peer's hello is awaited
    PROOF = auto()  # the peer's proof is awaited
    JUDGE = auto()  # this side's verdict is awaited
    READY = auto()  # the dialler's verdict is awaited
    DONE = auto()


class Handshake:
    """One side of one handshake.

    Feed what arrives to ``receive`` and send what it returns, until ``proven`` is set; then say ``verdict``
    once. The acceptor of a good verdict goes on with ``receive`` until ``ready`` is set. What the peer sends
    behind the handshake is in ``rest``.

    Args:
        local: Makes this side's hello, at the moment when it is said.
        secret: The cluster secret.
        dialler: Which side this is.
        credential: The dialler's own, if it has one.

    Attributes:
        local: This side's hello, once it has been said.
        peer: The other side's hello, once it has come (nothing in it is proved before ``proven``).
        proven: Set when the peer's proof has been checked.
        ready: Set at the acceptor when the dialler has said its verdict.
        last_words: After a failure, what to send before closing.
    """

    def __init__(
        self, local: Callable[[], Hello], secret: bytes, *, dialler: bool, credential: bytes = b""
    ) -> None:
        self._introduce = local
        self.local: Hello | None = None
        self._secret = secret
        self._credential = credential
        self._dialler = dialler
        self._stage = _Stage.HELLO
        self._transcript = hashlib.sha256()
        self._credential_digest = b""
        self._credential_proof = b""
        self._buffer = bytearray()
        self._magic_seen = False
        self.peer: Hello | None = None
        self.proven: Proven | None = None
        self.ready: Ready | None = None
        self.last_words = b""

    @property
    def rest(self) -> bytes:
        """The bytes that arrived behind the handshake."""
        return bytes(self._buffer)

    @property
    def capabilities(self) -> frozenset[str]:
        """The capabilities that both sides have; empty before both have said theirs."""
        if self.local is None or self.peer is None:
            return frozenset()
        return self.local.capabilities & self.peer.capabilities

    @property
    def has_credential(self) -> bool:
        """Whether the dialler offered a proof of a credential of its own."""
        return bool(self._credential_proof)

    def proves(self, kept: bytes) -> bool:
        """Tell whether the dialler has proved that it holds the credential of this ``credential_hash``."""
        if len(self._credential_proof) != _MAC_SIZE:
            return False
        key = _xor(self._credential_proof, _mac(kept, b"credential", self._credential_digest))
        return hmac.compare_digest(hashlib.sha256(key).digest(), kept)

    def start(self) -> bytes:
        """Return the dialler's first bytes."""
        self.local = self._introduce()
        return self._say(_HELLO, encode_hello(self.local), first=True)

    def receive(self, data: bytes) -> bytes:
        """Take bytes of the peer and return what to send.

        Raises:
            HandshakeFailed: There will be no link; send ``last_words`` and close.
        """
        self._buffer += data
        if not self._magic_seen and not self._take_magic():
            return b""
        out = b""
        while self._stage in {_Stage.HELLO, _Stage.PROOF, _Stage.READY}:
            message = self._next_message()
            if message is None:
                break
            out += self._take(*message)
        return out

    def verdict(self, code: Code = Code.OK, reason: str = "") -> bytes:
        """Say whether this side wants the link, and return the bytes that say so with a proof.

        Raises:
            RuntimeError: The peer has not proved the secret yet, or a verdict was said before.
        """
        if self._stage is not _Stage.JUDGE:
            raise RuntimeError("a verdict is said once, after the peer's proof")
        judged = msgpack.packb([code.value, reason[:REASON_LIMIT]])
        who, kind = (b"ready", _READY) if self._dialler else (b"acceptor", _PROOF)
        proof = _mac(self._secret, who, self._transcript.digest(), judged)
        last = self._dialler or code is not Code.OK
        self._stage = _Stage.DONE if last else _Stage.READY
        return self._say(kind, proof + judged)

    def _take_magic(self) -> bool:
        start = bytes(self._buffer[: len(MAGIC)])
        if not MAGIC.startswith(start):
            raise self._foreign(start)
        if len(start) < len(MAGIC):
            return False
        del self._buffer[: len(MAGIC)]
        self._magic_seen = True
        return True

    def _foreign(self, start: bytes) -> HandshakeFailed:
        if not start.startswith((b"\x15\x03", b"\x16\x03")):
            return HandshakeFailed(Code.BROKEN, "answered, but it is not an sllm node", final=True)
        if self._dialler:
            reason = f"answered, but it expects TLS: start this node with {TLS_FLAGS}"
        else:
            self.last_words = TLS_ALERT
            reason = "it uses TLS, and this node does not"
        return HandshakeFailed(Code.BROKEN, reason, final=True)

    def _next_message(self) -> tuple[int, bytes, bytes] | None:
        if len(self._buffer) < _HEAD.size:
            return None
        kind, length = _HEAD.unpack_from(self._buffer)
        if length > MESSAGE_LIMIT:
            raise HandshakeFailed(Code.BROKEN, "its handshake message is too long")
        end = _HEAD.size + length
        if len(self._buffer) < end:
            return None
        raw = bytes(self._buffer[:end])
        del self._buffer[:end]
        return kind, raw[_HEAD.size :], raw

    def _take(self, kind: int, body: bytes, raw: bytes) -> bytes:
        if kind == _REFUSED:
            raise HandshakeFailed(*_read_verdict(body))
        if self._stage is _Stage.HELLO and kind == _HELLO:
            return self._take_hello(body, raw)
        if self._stage is _Stage.PROOF and kind == _PROOF and self.peer is not None:
            self._take_proof(self.peer, body, raw)
            return b""
        if self._stage is _Stage.READY and kind == _READY:
            judged = self._check(b"ready", body)
            self.ready = Ready(*_read_verdict(judged))
            self._stage = _Stage.DONE
            return b""
        raise HandshakeFailed(Code.BROKEN, "its handshake is out of order")

    def _take_hello(self, body: bytes, raw: bytes) -> bytes:
        peer = self.peer = decode_hello(body)
        self._transcript.update(MAGIC + raw)
        self._stage = _Stage.PROOF
        if self.local is None:
            # The acceptor: the lane is the dialler's choice.
            local = self.local = evolve(self._introduce(), lane=peer.lane)
        else:
            local = self.local
        code, reason = _incompatible(local, peer)
        if code is not Code.OK:
            raise self._refusal(code, reason)
        if not self._dialler:
            return self._say(_HELLO, encode_hello(local), first=True)
        digest = self._transcript.digest()
        proof = _mac(self._secret, b"dialler", digest)
        if self._credential:
            mask = _mac(credential_hash(self._credential), b"credential", digest)
            proof += _xor(_credential_key(self._credential), mask)
        return self._say(_PROOF, proof)

    def _take_proof(self, peer: Hello, body: bytes, raw: bytes) -> None:
        if self._dialler:
            code, reason = _read_verdict(self._check(b"acceptor", body))
            self.proven = Proven(peer, code, reason)
            self._stage = _Stage.JUDGE if code is Code.OK else _Stage.DONE
        else:
            self._credential_digest = self._transcript.digest()
            self._credential_proof = self._check(b"dialler", body, signed=False)
            self.proven = Proven(peer)
            self._stage = _Stage.JUDGE
        self._transcript.update(raw)

    def _check(self, who: bytes, body: bytes, *, signed: bool = True) -> bytes:
        """Check the proof in front of ``body``; return what follows it (covered too, if ``signed``)."""
        proof, follows = body[:_MAC_SIZE], body[_MAC_SIZE:]
        expected = _mac(self._secret, who, self._transcript.digest(), follows if signed else b"")
        if not hmac.compare_digest(expected, proof):
            if self._dialler:
                raise HandshakeFailed(Code.SECRET, "does not know this cluster's secret", final=True)
            raise self._refusal(Code.SECRET, WRONG_SECRET)
        return follows

    def _refusal(self, code: Code, reason: str) -> HandshakeFailed:
        body = msgpack.packb([code.value, reason[:REASON_LIMIT]])
        first = not self._dialler and code is not Code.SECRET
        self.last_words = self._say(_REFUSED, body, first=first)
        return HandshakeFailed(code, reason)

    def _say(self, kind: int, body: bytes, *, first: bool = False) -> bytes:
        raw = (MAGIC if first else b"") + _HEAD.pack(kind, len(body)) + body
        self._transcript.update(raw)
        return raw


_MAC_SIZE: Final = 32


def _mac(key: bytes, who: bytes, *parts: bytes) -> bytes:
    return hmac.digest(key, b"sllm handshake 1 " + who + b"\0" + b"".join(parts), "sha256")


def credential_hash(credential: bytes) -> bytes:
    """Return what to keep in order to check the proofs of a credential."""
    return hashlib.sha256(_credential_key(credential)).digest()


def _credential_key(credential: bytes) -> bytes:
    return _mac(credential, b"credential key")


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _read_verdict(body: bytes) -> tuple[Code, str]:
    try:
        raw = msgpack.unpackb(body)
    except (ValueError, TypeError, msgpack.UnpackException):
        raw = None
    match raw:
        case [str(code), str(reason), *_]:
            printable = "".join(each if each.isprintable() else "?" for each in reason[:REASON_LIMIT])
            # A later version may refuse for a reason that has no name here.
            return Code(code) if code in set(Code) else Code.REFUSED, printable
        case _:
            raise HandshakeFailed(Code.BROKEN, "its verdict cannot be read")


def _incompatible(local: Hello, peer: Hello) -> tuple[Code, str]:
    mine, theirs = ("{}-{}".format(*hello.versions) for hello in (local, peer))
    if max(local.versions[0], peer.versions[0]) > min(local.versions[1], peer.versions[1]):
        return Code.PROTOCOL, f"it speaks protocol {mine}, this side {theirs}: install the same sllm on both"
    if local.cluster != peer.cluster:
        return Code.CLUSTER, f"it belongs to cluster {local.cluster}, not to {peer.cluster}"
    missing = sorted(((local.needs | MANDATORY) - peer.capabilities) | (peer.needs - local.capabilities))
    if missing:
        return Code.CAPABILITY, f"both sides must support {', '.join(missing)}: install the same sllm on both"
    if local.lane is not peer.lane:
        return Code.BROKEN, "it answered for another lane"
    return Code.OK, ""
