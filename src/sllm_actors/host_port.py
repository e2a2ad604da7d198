"""The one way in which a host and a port are written together, and read from a text."""

from __future__ import annotations

import ipaddress

from attrs import frozen

HIGHEST_PORT = 65535  # of TCP


@frozen
class HostPort:
    """A host and a TCP port.

    Attributes:
        host: A name or an address, without the brackets of IPv6.
        port: 0 to 65535.
    """

    host: str
    port: int

    def __str__(self) -> str:
        """Return ``HOST:PORT``, an IPv6 address in brackets, as URLs and ``Host`` headers have it."""
        return f"{bracketed(self.host)}:{self.port}"

    @property
    def authority(self) -> str:
        """``HOST:PORT`` for a URL or a ``Host`` header: in ASCII, without an address's zone (``%eth0``)."""
        host = self.host.partition("%")[0]
        return str(HostPort(host if host.isascii() else host.encode("idna").decode(), self.port))

    @classmethod
    def parse(cls, text: str, default_port: int) -> HostPort:
        """Read ``HOST``, ``HOST:PORT``, ``[IPV6]``, ``[IPV6]:PORT`` or a bare IPv6 address.

        Raises:
            ValueError: The text is none of these; the error says what is wrong.
        """
        if text.startswith("["):
            inner, bracket, rest = text[1:].partition("]")
            if not bracket or ":" not in inner or (rest and not rest.startswith(":")):
                raise ValueError("its brackets are not around an IPv6 address")
            host, colon, port = f"[{inner}]", rest[:1], rest[1:]
        elif text.count(":") > 1:
            host, colon, port = text, "", ""
        else:
            host, colon, port = text.partition(":")
        return cls(parse_host(host), _port(port) if colon else default_port)


def bracketed(host: str) -> str:
    """Return a host as it stands before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def parse_host(text: str) -> str:
    """Read a name or an address without a port; an IPv6 address may be in brackets.

    Raises:
        ValueError: The text is neither; the error says what is wrong.
    """
    host = text[1:-1] if text.startswith("[") and text.endswith("]") and ":" in text else text
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError(f"{host} is no IPv6 address, and a port has no place here") from None
        return host
    if not host or not host.isprintable() or any(each in " /@?#[]%\\" for each in host):
        raise ValueError("it names no host")
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError("no host can have such a name") from None
    return host


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= HIGHEST_PORT):
        raise ValueError(f"a port is a number up to {HIGHEST_PORT}")
    return int(text)
