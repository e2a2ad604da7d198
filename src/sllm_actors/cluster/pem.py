"""PEM files: what is wrong with one in one sentence, and renewed ones taken into use."""

from __future__ import annotations

import ssl
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import anyio
import structlog
from anyio import to_thread

from sllm_actors.files import open_regular

from .home import SetupProblem

log = structlog.get_logger("sllm_actors.tls")

LOOK_INTERVAL: Final = 60.0
"""Seconds between two looks for renewed files."""

_MAX_FILE: Final = 1 << 20


class TlsProblem(SetupProblem):
    """The files cannot be used; one sentence says which one, why, and what to do."""


def read_certificate(path: Path, what: str, flag: str) -> bytes:
    """Return the text of a file of certificates.

    Raises:
        TlsProblem: It cannot be read, or holds no certificate.
    """
    return _read(path, what, flag, b"CERTIFICATE-----")


def check_key(path: Path, flag: str) -> None:
    """Raise ``TlsProblem`` for a private key that a node cannot use, or should not."""
    text = _read(path, "key", flag, b"PRIVATE KEY-----")
    if b"ENCRYPTED" in text:
        raise TlsProblem(
            f"the key {path} has a passphrase, and nodes start unattended: "
            f"remove it (openssl pkey -in {path} -out FILE) and name the new file with {flag}"
        )
    if path.stat().st_mode & stat.S_IRWXO:
        raise TlsProblem(f"every user of this machine can get at the key {path}: chmod o= {path}")


def load_chain(context: ssl.SSLContext, certificate: Path, key: Path, flags: tuple[str, str]) -> None:
    """Load a certificate and its key into a context.

    Raises:
        TlsProblem: They cannot be used, or not together.
    """
    try:
        # Asked for a passphrase, OpenSSL would turn to the terminal.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except ssl.SSLError as error:
        if "MISMATCH" in (error.reason or ""):
            raise TlsProblem(
                f"the key {key} does not belong to the certificate {certificate}: "
                f"name two files that do with {flags[0]} and {flags[1]}"
            ) from None
        raise TlsProblem(
            f"the certificate {certificate} and the key {key} cannot be used ({words(error)}): "
            "have them made anew"
        ) from None


async def renew_forever(
    files: Sequence[Path], renew: Callable[[], None], *, interval: float = LOOK_INTERVAL
) -> None:
    """Call ``renew`` each time when files have changed, until cancelled.

    When it fails, nothing changes: the files may be in the middle of being replaced. It is tried again.

    Args:
        files: The files to watch; the first one names them in the log.
        renew: Reads them and takes them into use. It is called in a thread.
        interval: Seconds between two looks.
    """
    used = tried = await to_thread.run_sync(_stamps, files, abandon_on_cancel=True)
    while True:
        await anyio.sleep(interval)
        found = await to_thread.run_sync(_stamps, files, abandon_on_cancel=True)
        if found == used:
            continue
        try:
            await to_thread.run_sync(renew, abandon_on_cancel=True)
        except (TlsProblem, OSError) as problem:
            if found != tried:
                log.warning("tls.not_renewed", reason=str(problem))
            tried = found
            continue
        used = found
        log.info("tls.renewed", certificate=str(files[0]))


def words(error: ssl.SSLError) -> str:
    """Return in a few words what OpenSSL has against something."""
    verdict: str = getattr(error, "verify_message", None) or (error.reason or "no reason given")
    return verdict.lower().replace("_", " ")


def _read(path: Path, what: str, flag: str, mark: bytes) -> bytes:
    try:
        with open_regular(path) as file:
            text = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise TlsProblem(f"the {what} {path} ({flag}) cannot be read: {error.strerror}") from None
    if mark not in text or len(text) > _MAX_FILE:
        raise TlsProblem(f"the {what} {path} ({flag}) holds no {what} in PEM form")
    return text


def _stamps(files: Sequence[Path]) -> list[tuple[int, int, int] | None]:
    """Return what changes when a file is replaced or written to."""
    return [_stamp(path) for path in files]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
