"""The body of a request to the control API."""

from __future__ import annotations

from quart import current_app, request

from sllm_actors.gateway.bodies.content_coding import coding_of, decoded


async def read_text() -> str:
    """Return the body of the request, decoded.

    Raises:
        ApiError: Its ``Content-Encoding`` is none that the gateway decodes, or not what the body has; or it
            is too large.
        UnicodeDecodeError: It is not in UTF-8.
    """
    data = await request.get_data()
    data = data.encode() if isinstance(data, str) else data
    named = request.headers.getlist("Content-Encoding")
    coding = coding_of(",".join(named).encode("latin-1"))
    if coding is not None:
        data = decoded(data, coding, current_app.config["MAX_CONTENT_LENGTH"])
    return data.decode("utf-8-sig")
