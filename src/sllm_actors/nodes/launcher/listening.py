"""The addresses that nodes listen on, and those that others are told."""

from __future__ import annotations

import contextlib
import errno
import socket

from sllm_actors.cluster.loopback import is_loopback, is_unspecified
from sllm_actors.host_port import HostPort

BACKLOG = 1024
"""Connections that may wait in the queue of a listening socket."""


class LauncherProblem(Exception):
    """The nodes cannot be started, or cannot go on; one sentence says why and what to do."""


class Sockets:
    """Binds the listening sockets of a plan, all of them or none.

    Args:
        host: The name or address to bind them to.

    Attributes:
        bound: The sockets bound so far.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self.bound: list[socket.socket] = []

    def bind(self, port: int, flag: str, what: str) -> tuple[int, int]:
        """Bind a socket, and return its descriptor and port.

        Args:
            port: The port, or 0 for any free one.
            flag: The option that chooses the port, for the error.
            what: What listens there, for the error.

        Raises:
            LauncherProblem: The port cannot be had, or the address is not this machine's. All sockets bound
                so far are closed.
        """
        try:
            family = socket.getaddrinfo(self._host, port, type=socket.SOCK_STREAM)[0][0]
            both = self._host == "::" and socket.has_dualstack_ipv6()  # every address, those of IPv4 too
            listener = socket.create_server(
                (self._host, port), family=family, backlog=BACKLOG, dualstack_ipv6=both
            )
        except OSError as error:
            self.close()
            raise LauncherProblem(_explain(error, self._host, port, flag, what)) from None
        self.bound.append(listener)
        return listener.fileno(), listener.getsockname()[1]

    def close(self) -> None:
        """Close all sockets bound so far."""
        for listener in self.bound:
            listener.close()


def check_advertised(advertised: str | None, listening: str, head: str = "") -> None:
    """Check that ``--advertise`` leads other machines to this one.

    Loopback does not, but where the head is on loopback too, there may be no other machines.

    Args:
        advertised: What was given, or None.
        listening: The address that is listened on.
        head: Where the node finds its head; "" for the head itself.

    Raises:
        LauncherProblem: It leads nowhere, or each machine to itself.
    """
    if advertised is None:
        return
    if is_unspecified(advertised):
        raise LauncherProblem(
            f"--advertise {advertised} is no address that can be reached: give one of this machine's own, "
            "or leave it out"
        )
    if is_loopback(advertised) and not is_loopback(listening) and not is_loopback(head):
        raise LauncherProblem(
            f"--advertise {advertised} would lead every other machine to itself: "
            "give an address of this machine that they reach, or leave it out"
        )


def warning_of_loopback(advertised: str | None, listening: str, head: str) -> str:
    """Return what to tell whoever starts a worker that other machines cannot reach; "" if they can.

    Args:
        advertised: The ``--advertise`` that was given, or None.
        listening: The address that is listened on.
        head: Where the worker finds its head.
    """
    if is_loopback(listening) and not is_loopback(head) and advertised is None:
        remedy = "leave --host out, or name an address that they reach"
        return f"listens on {listening}, so gateways on other machines cannot reach it: {remedy}"
    if advertised is not None and is_loopback(advertised) and not is_loopback(listening):
        remedy = "leave --advertise out if there are others"
        return f"advertises {advertised}, so only gateways on this machine can reach it: {remedy}"
    return ""


def advertised_by_default(listening: str) -> str:
    """Return the address that others are told without ``--advertise``: the only one that is listened on.

    It is "" where there are more, or only this machine reaches it: then others use what they see themselves.
    """
    return "" if is_unspecified(listening) or is_loopback(listening) else listening


def reachable(address: str) -> str:
    """Return where this machine reaches what listens on an address."""
    if not is_unspecified(address):
        return address
    return "::1" if ":" in address and not socket.has_dualstack_ipv6() else "127.0.0.1"


def every_address() -> str:
    """Return what stands for every address of this machine: those of IPv6, too, where it has that."""
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
            return "::"
    return "0.0.0.0"  # noqa: S104 - see its callers


def _explain(error: OSError, host: str, port: int, flag: str, what: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} for {what} is taken: stop what listens there, or choose another with {flag}"
    if error.errno == errno.EACCES:
        return f"port {port} for {what} needs a privilege: choose one above 1023 with {flag}"
    return (
        f"{what} cannot listen on {HostPort(host, port)}: {error.strerror or error} (see --host and {flag})"
    )
