"""What is asked of a system, piece by piece, and the requests that it is asked with."""

from __future__ import annotations

import json
from typing import Any, Final, Literal

from attrs import asdict, frozen

Kind = Literal["plain", "streamed", "steady", "many", "burst"]

TOKENS: Final = 4
"""Of a stream in a closed loop, the first one at once and the others 1 ms apart."""

STEADY_MS: Final = 20
"""Between two tokens of a steady stream: 50 a second, as people read fast."""

MANY_MS: Final = 1000
"""Between two tokens of one of very many streams."""

BURST_WAIT_MS: Final = 500
"""The engine waits so long, so that all requests of a burst are under way together."""


@frozen
class Phase:
    """One thing that the load program does.

    Attributes:
        kind: ``plain`` and ``streamed`` are closed loops: each connection sends its next request when it has
            the answer to the last. ``steady`` and ``many`` hold streams open. ``burst`` sends requests on new
            connections at the same instant.
        connections: How many at a time: connections, streams or requests.
        seconds: How long it is measured, once it is warm; how long each stream of ``many`` lasts.
    """

    kind: Kind
    connections: int
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """Begins the names of its figures, as ``plain_32``."""
        return f"{self.kind}_{self.connections}" if self.kind in ("plain", "streamed") else self.kind

    def to_json(self) -> dict[str, Any]:
        """Return it for the load program's command line."""
        return asdict(self)


def prompt(phase: Phase) -> str:
    """Return what the engine is told in this phase."""
    match phase.kind:
        case "streamed":
            return f"{TOKENS} tokens 1 ms apart"
        case "steady":
            # More than are read: the client hangs up when the time is over.
            return f"{int((phase.seconds + 60) * 1000 / STEADY_MS)} tokens {STEADY_MS} ms apart"
        case "many":
            return f"{int(phase.seconds * 1000 / MANY_MS)} tokens {MANY_MS} ms apart"
        case "burst":
            return f"wait {BURST_WAIT_MS} ms"
        case _:
            return "answer at once"


def request(phase: Phase, *, port: int, key: str, model: str) -> bytes:
    """Return the whole request of HTTP/1.1 that this phase sends over and over."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant. Answer in a few words. " * 4},
            {"role": "user", "content": f"What does a gateway cost? {prompt(phase)}"},
        ],
        "max_tokens": 4096,
        "temperature": 0.7,
    }
    if phase.kind in ("streamed", "steady", "many"):
        body["stream"] = True
    encoded = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: */*\r\n"
        f"User-Agent: bench\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(encoded)}\r\n\r\n"
    )
    return head.encode() + encoded
