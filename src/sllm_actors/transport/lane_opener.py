"""Opens lanes: connect or accept, TLS, handshake, judgement, all under one deadline."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

import anyio
import structlog
from anyio.abc import ByteStream
from attrs import frozen

from sllm_actors.host_port import HostPort

from .admission import Admission, dialler_yields
from .errors import HandshakeFailed
from .handshake import Handshake, Proven
from .handshake_io import accept_handshake, dial_handshake
from .hello import NONCE_SIZE, Code, Hello, Lane
from .peer import NodeHello, Peer, Verdict
from .peer_table import PeerTable
from .settings import TransportSettings
from .sockets import configure, remote_host
from .tls import TlsContexts, secure

log = structlog.get_logger("sllm_actors.transport")

Connect = Callable[[str, int], Awaitable[ByteStream]]
"""Opens a byte stream to a host and a port, or raises ``OSError``."""


@frozen
class OpenedLane:
    """A lane after its handshake. Whoever gets it owns the stream.

    Attributes:
        stream: The connection, with TLS around it where the node uses TLS.
        hello: The peer's hello.
        host: The observed address of the peer.
        epoch: Of a data lane: its epoch, whichever side chose it.
        rest: Bytes that came behind the handshake.
        address: The host and port that this node dialled; None where the peer dialled.
    """

    stream: ByteStream
    hello: Hello
    host: str
    epoch: int
    rest: bytes
    address: tuple[str, int] | None


class LaneOpener:
    """The handshakes of one transport.

    Args:
        peer_table: What this node is, and knows of its peers.
        settings: The deadline of a handshake, among others.
        secret: The cluster secret; never logged.
        accept: The node's own judgement of who dials in; None to let in everybody who proves who it is.
        tls: The TLS contexts; None for plain TCP.
        connect: Opens a byte stream to a host and port.
        must_return: Called when this node has been declared down by a peer and is the one to take a new life.
    """

    def __init__(
        self,
        peer_table: PeerTable,
        settings: TransportSettings,
        *,
        secret: bytes,
        accept: Callable[[NodeHello], Verdict] | None,
        tls: TlsContexts | None,
        connect: Connect,
        must_return: Callable[[str], None],
    ) -> None:
        self._peer_table = peer_table
        self._settings = settings
        self._secret = secret
        self._accept = accept
        self._tls = tls
        self._connect = connect
        self._must_return = must_return

    async def dial(
        self,
        host: str,
        port: int,
        lane: Lane,
        *,
        epoch: int = 0,
        peer: Peer | None = None,
        role: str | None = None,
    ) -> OpenedLane:
        """Open a lane to an address, within the deadline of a handshake.

        Args:
            host: A name or an address.
            port: The port there.
            lane: What the connection is for.
            epoch: Of a data lane: its epoch.
            peer: The node that must answer there, in that very life; None for any, for a control lane.
            role: The role that must answer there; None for any.

        Raises:
            OSError: Nobody answers there.
            TimeoutError: Somebody does, but not in time.
            HandshakeFailed: Somebody does, but there is no lane; its reason is a whole sentence.
        """
        me, identification = self._peer_table.identity, self._peer_table.identification

        def introduce() -> Hello:
            return self._peer_table.hello(lane, secrets.token_bytes(NONCE_SIZE), epoch=epoch)

        def judge(handshake: Handshake, proven: Proven) -> Admission:
            hello = proven.hello
            known = identification.judge(_local(handshake), hello, dialled=True, expected=role)
            if known.code is not Code.OK:
                return known
            if peer is not None and (hello.node, hello.incarnation) != (peer.node, peer.incarnation):
                return Admission(
                    Code.REFUSED, f"{peer.node} is not there any more in life {peer.incarnation}"
                )
            return self._peer_table.judge(me, proven.hello, dialled=True)

        handshake = Handshake(introduce, self._secret, identification.key, dialler=True)
        stream: ByteStream | None = None
        try:
            with anyio.fail_after(self._settings.handshake_timeout):
                try:
                    stream = await self._connect(host, port)
                    configure(stream)
                    if self._tls is not None:
                        stream = await secure(stream, self._tls.client, host)
                    theirs = await dial_handshake(stream, handshake, judge)
                except BaseException as error:
                    if stream is not None:
                        await anyio.aclose_forcefully(stream)
                    failure = _failure(error)
                    if failure is None:
                        raise
                    self._after_failure(handshake, failure, dialled=True)
                    raise _sentence(str(HostPort(host, port)), handshake, failure) from error
        except TimeoutError as silence:
            if stream is None:
                raise OSError("no address answered") from silence
            raise
        return OpenedLane(stream, theirs, remote_host(stream), epoch, handshake.rest, (host, port))

    async def accept(self, stream: ByteStream) -> OpenedLane:
        """Let a connection in. A failure closes the stream.

        Raises:
            TimeoutError: The peer did not finish its handshake in time.
            HandshakeFailed: There is no lane.
        """
        me, identification = self._peer_table.identity, self._peer_table.identification

        def introduce() -> Hello:
            return self._peer_table.hello(Lane.CONTROL, secrets.token_bytes(NONCE_SIZE))

        handshake = Handshake(introduce, self._secret, identification.key, dialler=False)
        host = remote_host(stream)

        def judge(handshake: Handshake, proven: Proven) -> Admission:
            admission = identification.judge(_local(handshake), proven.hello, dialled=False)
            if admission.code is Code.OK:
                admission = self._peer_table.judge(me, proven.hello, dialled=False)
            if admission.code is not Code.OK or self._accept is None:
                return admission
            try:
                verdict = self._accept(_node_hello(proven.hello, host))
            except Exception as error:  # noqa: BLE001 - a bug of the hook
                log.error("transport.accept_failed", peer=proven.hello.node, error=repr(error)[:500])  # noqa: TRY400 - bounded
                verdict = Verdict("its own judgement failed, see its log")
            return Admission(Code.REFUSED, verdict.refusal) if verdict.refusal else admission

        try:
            with anyio.fail_after(self._settings.handshake_timeout):
                configure(stream)
                if self._tls is not None:
                    stream = await secure(stream, self._tls.server, None)
                theirs = await accept_handshake(stream, handshake, judge)
        except BaseException as error:
            await anyio.aclose_forcefully(stream)
            failure = _failure(error)
            if failure is not None:
                self._after_failure(handshake, failure, dialled=False)
                if failure is not error:
                    raise failure from error
            raise
        return OpenedLane(stream, theirs, host, theirs.epoch, handshake.rest, None)

    def _after_failure(self, handshake: Handshake, error: HandshakeFailed, *, dialled: bool) -> None:
        # Only a verdict that came with a proof can make this node give up its life.
        mine, proven = handshake.local, handshake.proven
        if mine is None or proven is None or error.code is not Code.DOWN:
            return
        theirs = proven.hello
        links = (mine.links, theirs.links) if dialled else (theirs.links, mine.links)
        if dialler_yields(*links) is dialled and self._peer_table.identity.incarnation == mine.incarnation:
            self._must_return(f"{theirs.node} and this node had lost each other")


def _failure(error: BaseException) -> HandshakeFailed | None:
    """Return why there is no lane. What nobody has foreseen ends one handshake, and not the node."""
    if isinstance(error, HandshakeFailed):
        return error
    if isinstance(error, OSError) or not isinstance(error, Exception):
        return None
    return HandshakeFailed(Code.BROKEN, f"made this node fail: {type(error).__name__}", final=True)


def _sentence(address: str, handshake: Handshake, error: HandshakeFailed) -> HandshakeFailed:
    """Return the failure with a whole sentence for a person who looks after the dialling node."""
    if error.final:
        text = f"{address} {error.reason}"
    else:
        role = handshake.peer.role if handshake.peer else "node"
        text = f"the {role} at {address} refused this node: {error.reason}"
    return HandshakeFailed(error.code, text, final=True)


def _local(handshake: Handshake) -> Hello:
    assert handshake.local is not None  # it was said before the peer proved anything
    return handshake.local


def _node_hello(hello: Hello, host: str) -> NodeHello:
    return NodeHello(
        node=hello.node,
        role=hello.role,
        incarnation=hello.incarnation,
        lane=hello.lane.value,
        host=host,
        public_key=hello.public_key,
        has_credential=bool(hello.credential),
    )
