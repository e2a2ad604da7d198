"""The address of an external server, as people write it. Pure."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

LONGEST = 2048
"""The most characters of an address."""

EXAMPLE = "as http://10.0.0.7:8000"

_PATH = re.compile(r"[!-~]*")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?\.?")
_ENDPOINT = re.compile(
    r"/v1(/(chat/completions|completions|embeddings|models|responses|messages|rerank|score))?/*$"
)


class AddressProblem(ValueError):
    """A text is not the address of a server. The sentence says why, without what may be a secret."""


def server_url(text: str) -> str:
    """Return the base URL of a server, without the ``/v1`` of its API: ``http://HOST[:PORT][/PATH]``.

    What people commonly write is mended: blanks around the address; ``/v1``, the path of an endpoint
    (``/v1/chat/completions``) or a slash at its end; capitals in scheme and host; a host that is not ASCII
    (it becomes IDNA).

    Raises:
        AddressProblem: The text is no address, and could be mended only by a guess.
    """
    text = text.strip()
    if not text:
        raise AddressProblem(f"an address is empty: give the URL of a server, {EXAMPLE}")
    shown = _shown(text)
    if len(text) > LONGEST:
        raise AddressProblem(f"{shown} has more than {LONGEST} characters")
    if not text.isprintable() or " " in text:
        raise AddressProblem(f"{shown} has a blank or a control character in it")
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        raise AddressProblem(f"{shown} has no http:// or https:// before it: write which of them it is")
    parts = _split(text, shown)
    if parts.scheme not in ("http", "https"):
        raise AddressProblem(f"{shown} is not an http:// or https:// address")
    if "@" in parts.netloc:
        raise AddressProblem(
            f"{shown} has a name or a key in it: give a key by the setting api_key_env or api_key_file"
        )
    if "?" in text or "#" in text:
        raise AddressProblem(f"{shown} has a ? or # in it: only scheme, host, port and path are used")
    if not _PATH.fullmatch(parts.path) or "\\" in text:
        raise AddressProblem(f"the path of {shown} has characters that must be written with %")
    host = _host(parts.hostname or "", shown)
    port = f":{parts.port}" if parts.port is not None else ""
    return f"{parts.scheme}://{host}{port}{_ENDPOINT.sub('', parts.path).rstrip('/')}"


def _split(text: str, shown: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        good = parts.port != 0
    except ValueError:  # a port that is none, half an IPv6 address
        good = False
    if not good:
        raise AddressProblem(f"{shown} is not the URL of a server: its host or port makes no sense")
    return parts


def _host(host: str, shown: str) -> str:
    if ":" in host:
        try:
            return f"[{ipaddress.IPv6Address(host)}]"
        except ValueError:
            raise AddressProblem(f"{shown} is not the URL of a server: its host makes no sense") from None
    try:
        plain = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        plain = ""
    if not _HOST.fullmatch(plain):
        raise AddressProblem(f"{shown} is not the URL of a server: it needs a host, {EXAMPLE}")
    return plain


def _shown(text: str) -> str:
    """Return an address as it may stand in a sentence: in one line, short, without what may be a secret."""
    plain = re.sub(r"[^/@]*@", "…@", re.sub(r"[?#].*", "?…", text, flags=re.DOTALL))
    return repr(plain if len(plain) <= 100 else plain[:99] + "…")
