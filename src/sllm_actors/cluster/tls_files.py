"""The three files of a node that speaks TLS with its peers."""

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
