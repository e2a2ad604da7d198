"""TLS between people and gateways: from two files to a context that browsers and clients can talk to."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime

from cryptography import x509

from .pem import LOOK_INTERVAL, TlsProblem, check_key, load_chain, read_certificate, renew_forever
from .tls_files import PublicTlsFiles

CERTIFICATE_FLAG = "--public-tls-cert"
KEY_FLAG = "--public-tls-key"


class PublicTls:
    """The context of a public port, which ``renew_forever`` exchanges.

    Args:
        files: The certificate and its key.

    Attributes:
        context: For the next connection.

    Raises:
        TlsProblem: The files cannot be used.
    """

    def __init__(self, files: PublicTlsFiles) -> None:
        self._files = files
        self.context = make_public_context(files)

    async def renew_forever(self, *, interval: float = LOOK_INTERVAL) -> None:
        """Take renewed files into use, for each connection from then on, until cancelled."""
        await renew_forever((self._files.certificate, self._files.key), self._renew, interval=interval)

    def _renew(self) -> None:
        self.context = make_public_context(self._files)


def make_public_context(files: PublicTlsFiles) -> ssl.SSLContext:
    """Read the files. Blocks for some milliseconds.

    Raises:
        TlsProblem: No client could be served with them now.
    """
    text = read_certificate(files.certificate, "certificate", CERTIFICATE_FLAG)
    check_key(files.key, KEY_FLAG)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # with TLS 1.2, what HTTP/2 allows
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["h2", "http/1.1"] if files.http2 else ["http/1.1"])
    load_chain(context, files.certificate, files.key, (CERTIFICATE_FLAG, KEY_FLAG))
    _check_time(files, _first(text))
    return context


def public_host(files: PublicTlsFiles, address: str) -> str:
    """Return the host that a URL should name: an address that the certificate is for, or else its first name.

    Args:
        files: As for ``make_public_context``, which has accepted them.
        address: Where this machine reaches its own port.
    """
    certificate = _first(read_certificate(files.certificate, "certificate", CERTIFICATE_FLAG))
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return address
    addresses = [str(each) for each in names.get_values_for_type(x509.IPAddress)]
    domains = [name for name in names.get_values_for_type(x509.DNSName) if "*" not in name]
    if address in addresses or address in domains or not domains:
        return address
    return domains[0]


def _first(text: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificates(text)[0]


def _check_time(files: PublicTlsFiles, certificate: x509.Certificate) -> None:
    now = datetime.now(UTC)
    if now > certificate.not_valid_after_utc:
        raise TlsProblem(
            f"the certificate {files.certificate} ({CERTIFICATE_FLAG}) has expired on "
            f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: have it renewed"
        )
    if now < certificate.not_valid_before_utc:
        raise TlsProblem(
            f"the certificate {files.certificate} ({CERTIFICATE_FLAG}) is valid only from "
            f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on: wait, or set this machine's clock"
        )
