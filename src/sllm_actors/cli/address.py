"""The address of a gateway, as people write it."""

from __future__ import annotations

import re

import httpx2

from sllm_actors.observe.redaction import without_credentials
from sllm_actors.observe.terminal_text import one_line

from .errors import CommandFailure

DEFAULT_PORT = 8343
HIGHEST_PORT = 65535
DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_PORT}"

_NO_PORT = re.compile(r"(\[[^\]]*\]|[^/:]*)(/|$)")
_API = re.compile(r"/v1(/.*)?$")


def gateway_url(given: str, source: str = "LLM_SERVER_URL") -> str:
    """Return the URL of a gateway, without a slash at its end: paths such as ``/status`` go behind it.

    Blanks around ``given``, slashes at its end and a path of the OpenAI API (``/v1``,
    ``/v1/chat/completions``) are taken away. Without a scheme it is ``http``, and then the port is 8343 if
    none is given.

    Args:
        given: What ``source`` holds; nothing but blanks means ``DEFAULT_URL``.
        source: The variable or option that holds it, for messages.

    Raises:
        CommandFailure: It is not the address of an HTTP server.
    """
    text = given.strip()
    if not text:
        return DEFAULT_URL
    has_scheme = "://" in text
    try:
        url = httpx2.URL(text if has_scheme else f"http://{text}")
    except httpx2.InvalidURL:
        url = httpx2.URL("")
    if not has_scheme and url.host and _NO_PORT.match(text):
        url = url.copy_with(port=DEFAULT_PORT)
    wrong = url.scheme not in ("http", "https") or not url.host or url.query or url.fragment
    if wrong or (url.port or 0) > HIGHEST_PORT or re.search(r"\s", text):
        shown = one_line(without_credentials(text))
        raise CommandFailure(f"{source}={shown} is not an address like {DEFAULT_URL}")
    return str(url.copy_with(path=_API.sub("", url.path.rstrip("/")))).rstrip("/")
