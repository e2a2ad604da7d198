"""The handshake, without I/O: both sides prove, over everything that was said, that they know the cluster
secret and that each holds the private key whose public half its hello names.

::

    dialler                          acceptor
    MAGIC HELLO            ──▶
                           ◀──       MAGIC HELLO            (or MAGIC REFUSED)
    PROOF                  ──▶
                           ◀──       PROOF with a verdict   (or REFUSED: wrong secret or key)
    READY with a verdict   ──▶

Each proof is an HMAC-SHA-256 under the cluster secret over who proves and the digest of all bytes of both
sides so far, its own verdict included: nothing can be replayed (nonces), reflected (the prover is named) or
downgraded (versions and capabilities are in the transcript). A verdict is believed only with its proof; a
bare REFUSED is only words for a person.

Each PROOF also has an Ed25519 signature over the same bytes by the prover's own key: whoever has the secret
and not the key cannot speak for the node. (READY needs none: the dialler has signed in this transcript
already.) So each side signs once and checks one signature; whom the key belongs to is ``identification``.

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
from .key_pair import SIGNATURE_SIZE, KeyPair, is_signed_by

MAGIC: Final = b"\x8bSLLM\r\n\x00"
"""Not text, not TLS, and broken by anything that translates line ends."""

MESSAGE_LIMIT: Final = 8192
"""Bytes of the body of one handshake message."""
REASON_LIMIT: Final = 500
"""Characters of the reason in a verdict; longer ones are cut."""
WRONG_KEY: Final = "does not hold the key that it names"
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
        key: The node's own key pair; its public key is the one in the hello.
        dialler: Which side this is.

    Attributes:
        local: This side's hello, once it has been said.
        peer: The other side's hello, once it has come (nothing in it is proved before ``proven``).
        proven: Set when the peer's proof has been checked.
        ready: Set at the acceptor when the dialler has said its verdict.
        last_words: After a failure, what to send before closing.
    """

    def __init__(self, local: Callable[[], Hello], secret: bytes, key: KeyPair, *, dialler: bool) -> None:
        self._introduce = local
        self.local: Hello | None = None
        self._secret = secret
        self._key = key
        self._dialler = dialler
        self._stage = _Stage.HELLO
        self._transcript = hashlib.sha256()
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
        body = self._prove(b"ready", judged) if self._dialler else self._sign(b"acceptor", judged)
        kind = _READY if self._dialler else _PROOF
        last = self._dialler or code is not Code.OK
        self._stage = _Stage.DONE if last else _Stage.READY
        return self._say(kind, body)

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
            self.ready = Ready(*_read_verdict(self._check(b"ready", body)))
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
            raise self._refusal(code, reason, first=not self._dialler)
        if not self._dialler:
            return self._say(_HELLO, encode_hello(local), first=True)
        return self._say(_PROOF, self._sign(b"dialler", b""))

    def _take_proof(self, peer: Hello, body: bytes, raw: bytes) -> None:
        if self._dialler:
            code, reason = _read_verdict(self._check_signed(b"acceptor", peer, body))
            self.proven = Proven(peer, code, reason)
            self._stage = _Stage.JUDGE if code is Code.OK else _Stage.DONE
        else:
            self._check_signed(b"dialler", peer, body)
            self.proven = Proven(peer)
            self._stage = _Stage.JUDGE
        self._transcript.update(raw)

    def _prove(self, who: bytes, says: bytes) -> bytes:
        """Return what ``_check`` takes: a proof of the secret, and what this side says, which it covers."""
        return _mac(self._secret, who, self._transcript.digest(), says) + says

    def _check(self, who: bytes, body: bytes) -> bytes:
        """Check the proof in front of ``body``; return what follows it."""
        proof, says = body[:_MAC_SIZE], body[_MAC_SIZE:]
        if not hmac.compare_digest(_mac(self._secret, who, self._transcript.digest(), says), proof):
            if self._dialler:
                raise HandshakeFailed(Code.SECRET, "does not know this cluster's secret", final=True)
            raise self._refusal(Code.SECRET, WRONG_SECRET)
        return says

    def _sign(self, who: bytes, says: bytes) -> bytes:
        """Return what ``_check_signed`` takes: both proofs, and what this side says, which they cover."""
        return self._prove(who, self._key.sign(_purpose(who) + self._transcript.digest() + says) + says)

    def _check_signed(self, who: bytes, peer: Hello, body: bytes) -> bytes:
        signed = self._check(who, body)
        signature, says = signed[:SIGNATURE_SIZE], signed[SIGNATURE_SIZE:]
        if not is_signed_by(peer.public_key, signature, _purpose(who) + self._transcript.digest() + says):
            if self._dialler:
                raise HandshakeFailed(Code.IDENTITY, WRONG_KEY, final=True)
            raise self._refusal(Code.IDENTITY, f"it {WRONG_KEY}")
        return says

    def _refusal(self, code: Code, reason: str, *, first: bool = False) -> HandshakeFailed:
        body = msgpack.packb([code.value, reason[:REASON_LIMIT]])
        self.last_words = self._say(_REFUSED, body, first=first)
        return HandshakeFailed(code, reason)

    def _say(self, kind: int, body: bytes, *, first: bool = False) -> bytes:
        raw = (MAGIC if first else b"") + _HEAD.pack(kind, len(body)) + body
        self._transcript.update(raw)
        return raw


_MAC_SIZE: Final = 32


def _purpose(who: bytes) -> bytes:
    return b"sllm handshake 2 " + who + b"\0"


def _mac(key: bytes, who: bytes, *parts: bytes) -> bytes:
    return hmac.digest(key, _purpose(who) + b"".join(parts), "sha256")


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
    if max(local.versions[0], peer.versions[0]) > min(local.versions[1], peer.versions[1]):
        return Code.PROTOCOL, (
            f"it speaks {_protocol(local)}, this side {_protocol(peer)}: upgrade both to the same sllm"
        )
    if not peer.public_key:
        return Code.BROKEN, "its hello names no key"
    if local.cluster != peer.cluster:
        return Code.CLUSTER, f"it belongs to cluster {local.cluster}, not to {peer.cluster}"
    missing = sorted(((local.needs | MANDATORY) - peer.capabilities) | (peer.needs - local.capabilities))
    if missing:
        return Code.CAPABILITY, f"both sides must support {', '.join(missing)}: install the same sllm on both"
    if local.lane is not peer.lane:
        return Code.BROKEN, "it answered for another lane"
    return Code.OK, ""


def _protocol(hello: Hello) -> str:
    lowest, highest = hello.versions
    name = f"protocol {lowest}" if lowest == highest else f"protocols {lowest} to {highest}"
    return f"{name} (that of sllm 0.1)" if highest == 1 else name
