"""Mutual TLS between nodes: from three files to two contexts that are known to work.

What counts is the authority. Nodes are known by their ids, and move between addresses, so host names in
certificates are not looked at: whoever holds a certificate of the cluster's own authority (and the cluster
secret, which is proved inside) is a node of it.
"""

from __future__ import annotations

import ssl
import stat
from pathlib import Path
from typing import Final

import anyio
import structlog
from anyio import to_thread

from sllm_actors.files import open_regular
from sllm_actors.transport import TlsContexts

from .home import SetupProblem
from .tls_files import TlsFiles

log = structlog.get_logger("sllm_actors.tls")

LOOK_INTERVAL: Final = 60.0
"""Seconds between two looks for renewed files."""

_MAX_FILE: Final = 1 << 20
_ROUNDS: Final = 8


class TlsProblem(SetupProblem):
    """The files cannot be used; one sentence says which one, why, and what to do."""


def make_tls_contexts(files: TlsFiles) -> TlsContexts:
    """Read the files, and try them on a handshake of this node with itself. Blocks for some milliseconds.

    Raises:
        TlsProblem: No two nodes could be linked with these files.
    """
    _look(files.certificate, "certificate", "--tls-cert", b"CERTIFICATE-----")
    _look(files.authority, "authority", "--tls-ca", b"CERTIFICATE-----")
    key = _look(files.key, "key", "--tls-key", b"PRIVATE KEY-----")
    if b"ENCRYPTED" in key:
        raise TlsProblem(
            f"the key {files.key} has a passphrase, and nodes start unattended: "
            f"remove it (openssl pkey -in {files.key} -out FILE) and name the new file with --tls-key"
        )
    if files.key.stat().st_mode & stat.S_IRWXO:
        raise TlsProblem(f"every user of this machine can get at the key {files.key}: chmod o= {files.key}")
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
    used = tried = await to_thread.run_sync(_stamps, files, abandon_on_cancel=True)
    while True:
        await anyio.sleep(interval)
        found = await to_thread.run_sync(_stamps, files, abandon_on_cancel=True)
        if found == used:
            continue
        try:
            fresh = await to_thread.run_sync(make_tls_contexts, files, abandon_on_cancel=True)
        except (TlsProblem, OSError) as problem:
            if found != tried:
                log.warning("tls.not_renewed", reason=str(problem))
            tried = found
            continue
        contexts.server, contexts.client = fresh.server, fresh.client
        used = found
        log.info("tls.renewed", certificate=str(files.certificate))


def _look(path: Path, what: str, flag: str, mark: bytes) -> bytes:
    """Return the file's text, which must be PEM of the right kind."""
    try:
        with open_regular(path) as file:
            text = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise TlsProblem(f"the {what} {path} ({flag}) cannot be read: {error.strerror}") from None
    if mark not in text or len(text) > _MAX_FILE:
        raise TlsProblem(f"the {what} {path} ({flag}) holds no {what} in PEM form")
    return text


def _context(protocol: int, files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # what --tls-ca holds need not be a root
    try:
        # Asked for a passphrase, OpenSSL would turn to the terminal.
        context.load_cert_chain(files.certificate, files.key, password=lambda: b"")
    except ssl.SSLError as error:
        if "MISMATCH" in (error.reason or ""):
            raise TlsProblem(
                f"the key {files.key} does not belong to the certificate {files.certificate}: "
                "name two files that do with --tls-cert and --tls-key"
            ) from None
        raise TlsProblem(
            f"the certificate {files.certificate} and the key {files.key} cannot be used ({_words(error)}): "
            "have them made anew"
        ) from None
    try:
        context.load_verify_locations(files.authority)
    except ssl.SSLError as error:
        raise TlsProblem(
            f"the authority {files.authority} (--tls-ca) cannot be used ({_words(error)})"
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
            f"({_words(error)}): each node needs one that this authority has signed, valid now, "
            "for server and client use"
        ) from None


def _words(error: ssl.SSLError) -> str:
    verdict: str = getattr(error, "verify_message", None) or (error.reason or "no reason given")
    return verdict.lower().replace("_", " ")


def _stamps(files: TlsFiles) -> list[tuple[int, int, int] | None]:
    """Return what changes when a file is replaced or written to."""
    return [_stamp(path) for path in (files.certificate, files.key, files.authority)]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
