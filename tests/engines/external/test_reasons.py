"""Why a server cannot be reached: the true reason, from real failures where the machine can make them."""

from __future__ import annotations

import errno
import socket
import ssl
from pathlib import Path

import anyio
import pytest
import trustme
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSStream

from sllm_actors.engines.external import ClientContexts, why_unreachable

pytestmark = pytest.mark.anyio


async def failure(host: str, port: int, context: ssl.SSLContext | None = None) -> str:
    with pytest.raises((OSError, anyio.BrokenResourceError, anyio.EndOfStream)) as raised:
        await connect(host, port, context)
    return why_unreachable(raised.value)


async def connect(host: str, port: int, context: ssl.SSLContext | None) -> None:
    async with await anyio.connect_tcp(host, port) as stream:
        if context is not None:
            await TLSStream.wrap(stream, hostname=host, ssl_context=context)


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    assert await failure("127.0.0.1", port) == "connection refused (nothing listens there)"
    assert await failure("localhost", port) == "connection refused (nothing listens there)"


async def test_a_name_that_nobody_knows() -> None:
    assert "its name " in await failure("no-such-host.invalid", 80)


async def test_tls_says_what_is_wrong_with_a_certificate(tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    contexts = ClientContexts()
    trusting = await contexts.of(str(tmp_path / "ca.pem"))
    assert trusting is await contexts.of(str(tmp_path / "ca.pem"))
    for issuer, name, context, why in (
        (stranger, "localhost", trusting, "its certificate is not trusted (unable to get local issuer"),
        (stranger, "localhost", trusting, "): name the authority by ca_file"),
        (authority, "other.example", trusting, "Hostname mismatch, certificate is not valid for 'localhost'"),
        (None, "", trusting, "it does not speak TLS there: is it an http:// address?"),
    ):
        async with serving(issuer, name) as port:
            assert why in await failure("localhost", port, context)


async def test_authorities_that_are_none_are_named(tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("hello")
    with pytest.raises(OSError, match=r"ca_file .*none.pem has no certificates \(PEM\) in it"):
        await ClientContexts().of(str(tmp_path / "none.pem"))
    with pytest.raises(OSError, match=r"ca_file /no/such.pem cannot be read: No such file"):
        await ClientContexts().of("/no/such.pem")


def serving(issuer: trustme.CA | None, name: str) -> _Serving:
    return _Serving(issuer, name)


class _Serving:
    """Listens on loopback, with a certificate for a name, or as a server of plain HTTP."""

    def __init__(self, issuer: trustme.CA | None, name: str) -> None:
        self._context = None if issuer is None else ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if issuer is not None and self._context is not None:
            issuer.issue_cert(name).configure_cert(self._context)

    async def __aenter__(self) -> int:
        self._listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._listener.serve, self._answer)
        return int(self._listener.extra(SocketAttribute.local_port))  # noqa: S610 - anyio's extra

    async def _answer(self, stream: SocketStream) -> None:
        async with stream:
            try:
                if self._context is None:
                    await stream.receive()
                    await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                else:
                    await TLSStream.wrap(stream, ssl_context=self._context)
            except (OSError, anyio.BrokenResourceError, anyio.EndOfStream):
                pass

    async def __aexit__(self, *_: object) -> None:
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(None, None, None)
        await self._listener.aclose()


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(errno.ENETUNREACH, "x"), "there is no route to it"),
        (OSError(errno.EHOSTUNREACH, "x"), "there is no route to it"),
        (OSError(errno.ETIMEDOUT, "x"), "it does not answer"),
        (OSError(errno.EMFILE, "x"), "this node has no descriptors left"),
        (ConnectionResetError(), "it closed the connection"),
        (socket.gaierror(socket.EAI_AGAIN, "x"), "its name cannot be looked up now"),
        (ssl.SSLError(1, "x"), "TLS failed (no reason given)"),
        (ValueError("odd"), "no answer (ValueError: odd)"),
        (ValueError(), "no answer (ValueError)"),
    ],
)
def test_what_the_machine_cannot_make_happen_has_words_too(error: Exception, why: str) -> None:
    assert why_unreachable(error).startswith(why)


def test_the_reason_is_found_in_groups_and_causes() -> None:
    deep = OSError("All connection attempts failed")
    deep.__cause__ = ExceptionGroup("two", [OSError("?"), ConnectionRefusedError()])
    deep.__context__ = deep  # a circle ends
    assert why_unreachable(deep) == "connection refused (nothing listens there)"
