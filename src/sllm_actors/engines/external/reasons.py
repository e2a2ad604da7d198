"""Why a server cannot be reached, in words for a person."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator

from sllm_actors.disk import DiskSilent

_UNKNOWN_AUTHORITY = {18, 19, 20, 21}
"""OpenSSL's error numbers for a certificate chain that ends in an authority that is not trusted."""

_ROUTES = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}


def why_unreachable(error: BaseException) -> str:
    """Return in a few words why a connection attempt failed.

    Args:
        error: What the attempt raised. The reason may be deep in its causes and exception groups; of several
            the first that is known is told.
    """
    for each in _leaves(error, set()):
        if said := _say(each):
            return said
    text = str(error)
    return f"no answer ({type(error).__name__}{': ' if text else ''}{text[:200]})"


def _say(error: BaseException) -> str:
    match error:
        case DiskSilent():
            return str(error)
        case socket.gaierror(errno=socket.EAI_AGAIN):
            return "its name cannot be looked up now (the name server does not answer)"
        case socket.gaierror():
            return "its name is not known (no address for it)"
        case ssl.SSLCertVerificationError():
            advice = ": name the authority by ca_file" if error.verify_code in _UNKNOWN_AUTHORITY else ""
            return f"its certificate is not trusted ({error.verify_message.rstrip('.')}){advice}"
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER" | "HTTP_REQUEST" | "RECORD_LAYER_FAILURE"):
            return "it does not speak TLS there: is it an http:// address?"
        case ssl.SSLError():
            reason = getattr(error, "reason", None) or "no reason given"
            return f"TLS failed ({reason.lower().replace('_', ' ')})"
        case ConnectionRefusedError():
            return "connection refused (nothing listens there)"
        case ConnectionError():
            return "it closed the connection"
        case OSError(errno=number) if number in _ROUTES:
            return "there is no route to it"
        case OSError(errno=errno.ETIMEDOUT):
            return "it does not answer"
        case OSError(errno=errno.EMFILE | errno.ENFILE):
            return "this node has no descriptors left"
    return ""


def _leaves(error: BaseException, seen: set[int]) -> Iterator[BaseException]:
    """Go through an error and what it came from, the deepest first."""
    if id(error) in seen:
        return
    seen.add(id(error))
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each, seen)
    for cause in (error.__cause__, error.__context__):
        if cause is not None:
            yield from _leaves(cause, seen)
    yield error
