"""Mutual TLS between nodes: from three files to two contexts that are known to work.

What counts is the authority. Nodes are known by their ids, and move between addresses, so host names in
certificates are not looked at: whoever holds a certificate of the cluster's own authority (and the cluster
secret, which is proved inside) is a node of it.
"""

from __future__ import annotations

import ssl
from typing import Final

from sllm_actors.transport import TlsContexts

from . import pem
from .pem import LOOK_INTERVAL, TlsProblem, check_key, load_chain, read_certificate, words
from .tls_files import TlsFiles

_ROUNDS: Final = 8


def make_tls_contexts(files: TlsFiles) -> TlsContexts:
    """Read the files, and try them on a handshake of this node with itself. Blocks for some milliseconds.

    Raises:
        TlsProblem: No two nodes could be linked with these files.
    """
    read_certificate(files.certificate, "certificate", "--tls-cert")
    read_certificate(files.authority, "authority", "--tls-ca")
    check_key(files.key, "--tls-key")
    contexts = TlsContexts(
        _context(ssl.PROTOCOL_TLS_SERVER, files),
        _context(ssl.PROTOCOL_TLS_CLIENT, files),
    )
    _try(contexts, files)
    return contexts


async def renew_forever(contexts: TlsContexts, files: TlsFiles, *, interval: float = LOOK_INTERVAL) -> None:
    """Take renewed files into use, for each handshake from then on, until cancelled.

    Files that cannot be used change nothing: they may be in the middle of being replaced.

    Args:
        contexts: Those that the transport uses; they are changed in place.
        files: The files to watch.
        interval: Seconds between two looks.
    """

    def renew() -> None:
        fresh = make_tls_contexts(files)
        contexts.server, contexts.client = fresh.server, fresh.client

    await pem.renew_forever((files.certificate, files.key, files.authority), renew, interval=interval)


def _context(protocol: int, files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # what --tls-ca holds need not be a root
    load_chain(context, files.certificate, files.key, ("--tls-cert", "--tls-key"))
    try:
        context.load_verify_locations(files.authority)
    except ssl.SSLError as error:
        raise TlsProblem(
            f"the authority {files.authority} (--tls-ca) cannot be used ({words(error)})"
        ) from None
    return context


def _try(contexts: TlsContexts, files: TlsFiles) -> None:
    """Let the node shake hands with itself, in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        contexts.client.wrap_bio(to_client, to_server),
        contexts.server.wrap_bio(to_server, to_client, server_side=True),
    )
    try:
        for _ in range(_ROUNDS):
            for end in ends:
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLError as error:
        raise TlsProblem(
            f"the certificate {files.certificate} does not pass the authority {files.authority} "
            f"({words(error)}): each node needs one that this authority has signed, valid now, "
            "for server and client use"
        ) from None
