"""Why nobody could be connected to at an address, and what to do about it, in words for a person."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

from sllm_actors import descriptors
from sllm_actors.descriptors import is_out_of_descriptors

_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}
_FORBIDDEN = {errno.EACCES, errno.EPERM}


def why_unreachable(error: OSError) -> str:
    """Return why a connect failed and what to do, as the end of a sentence that begins with the address.

    It tells a name that is not known, a missing route, a refusal and a silence apart. A name may have several
    addresses: then what is told is what came nearest to an answer.

    Args:
        error: What the connect raised; the failures of single addresses may be below it.
    """
    if is_out_of_descriptors(error):
        return descriptors.explain(error)
    return min(map(_say, _leaves(error)))[1]


def is_refused(error: OSError) -> bool:
    """Tell whether a failed connect was refused by the host everywhere: nobody listens there any more."""
    leaves = list(_leaves(error))
    return bool(leaves) and all(isinstance(each, ConnectionRefusedError) for each in leaves)


def _say(error: BaseException) -> tuple[int, str]:
    """Return how far a connect was from an answer, 0 for the nearest, and the words for it."""
    match error:
        case ConnectionRefusedError():
            return 0, (
                "connection refused: nothing listens there; check that the node runs, "
                "on this port, and that its --host is an address for other machines"
            )
        case TimeoutError():
            return (
                1,
                "no answer: check that the machine is up, and that no firewall drops what goes to this port",
            )
        case OSError(errno=number) if number in _FORBIDDEN:
            return 2, f"{_system(error)}: a firewall of this machine, or on the way, forbids it"
        case socket.gaierror(errno=socket.EAI_AGAIN):
            return (
                4,
                "its name cannot be looked up: no name server (DNS) answers; mend that, or give its address",
            )
        case socket.gaierror():
            return 4, "no such name is known here (DNS): check the spelling, or give its address"
        case OSError(errno=number) if number in _NO_ROUTE:
            return 3, f"{_system(error)}: check the address, and this machine's network"
    return 5, _system(error)


def _system(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    elif isinstance(error, OSError) and error.errno is None and error.__cause__ is not None:
        yield from _leaves(error.__cause__)
    else:
        yield error
