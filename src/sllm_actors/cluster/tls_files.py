"""The files for TLS: those of a node that speaks it with its peers, and those for the OpenAI API."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen


@frozen
class TlsFiles:
    """PEM files.

    Attributes:
        certificate: The node's own certificate (for server and client use), then the intermediate ones.
        key: The private key of that certificate, without a passphrase.
        authority: The certificates of the authorities that the nodes of the cluster are signed by.
    """

    certificate: Path
    key: Path
    authority: Path


@frozen
class PublicTlsFiles:
    """PEM files for the OpenAI API, and how it is served with them.

    Attributes:
        certificate: The certificate that clients see, then the intermediate ones.
        key: The private key of that certificate, without a passphrase.
        http2: Whether clients may choose HTTP/2.
    """

    certificate: Path
    key: Path
    http2: bool = False
