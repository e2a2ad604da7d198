"""Which sockets get the connections to a port of 127.0.0.1, from the kernel's tables of TCP sockets."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

LISTENING = "0A"  # TCP_LISTEN, as /proc/net/tcp prints it
LOCALHOST = IPv4Address("127.0.0.1")


def answering_sockets(tcp: Iterable[str], tcp6: Iterable[str], port: int) -> frozenset[int]:
    """Return the inodes of the sockets that may get a connection to 127.0.0.1:PORT; empty if none listens.

    The kernel prefers a socket bound to 127.0.0.1 to one bound to all addresses, and IPv4 to IPv6. Several
    sockets of the same kind (``SO_REUSEPORT``) share the connections: then all of them are returned.

    Args:
        tcp: The lines of ``/proc/net/tcp``; they are read only as far as sockets listen, which come first.
        tcp6: The lines of ``/proc/net/tcp6``.
        port: The port.
    """
    here: set[int] = set()
    everywhere: set[int] = set()
    everywhere6: set[int] = set()
    for address, inode in _listening(tcp, port):
        if address == LOCALHOST:
            here.add(inode)
        elif address.is_unspecified:
            everywhere.add(inode)
    for address, inode in _listening(tcp6, port):
        if isinstance(address, IPv6Address) and address.ipv4_mapped == LOCALHOST:
            here.add(inode)
        elif address.is_unspecified:
            everywhere6.add(inode)
    return frozenset(here or everywhere or everywhere6)


def _listening(table: Iterable[str], port: int) -> Iterator[tuple[IPv4Address | IPv6Address, int]]:
    for line in table:
        fields = line.split()
        if fields[0] == "sl":  # the heading
            continue
        if fields[3] != LISTENING:
            return
        host, _, number = fields[1].partition(":")
        if int(number, 16) == port:
            yield _address(host), int(fields[9])


def _address(digits: str) -> IPv4Address | IPv6Address:
    """Read an address as the kernel prints it: words of 32 bits, each in the byte order of the machine."""
    words = (int(digits[at : at + 8], 16) for at in range(0, len(digits), 8))
    return ip_address(b"".join(word.to_bytes(4, sys.byteorder) for word in words))
