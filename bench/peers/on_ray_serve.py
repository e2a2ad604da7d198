"""A trivial app of LLM shape on Ray Serve: ``python on_ray_serve.py PORT UPSTREAM``.

Its ingress passes chats on to the upstream on that port of loopback, and streams back what comes.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import aiohttp  # type: ignore[import-not-found] # in an environment of its own
import ray  # type: ignore[import-not-found]
from ray import serve
from starlette.responses import (  # type: ignore[import-not-found]
    Response,
    StreamingResponse,
)

MANY = 100_000
"""Requests at a time that the app takes: no bound."""


class Ingress:
    def __init__(self, upstream: int) -> None:
        self._url = f"http://127.0.0.1:{upstream}"
        self._http: Any = None

    async def __call__(self, request: Any) -> Any:
        if self._http is None:
            connector = aiohttp.TCPConnector(limit=0)
            self._http = aiohttp.ClientSession(self._url, connector=connector)
        body = await request.body()
        headers = {"content-type": "application/json"}
        answer = await self._http.post(request.url.path, data=body, headers=headers)
        if "event-stream" in answer.content_type:
            return StreamingResponse(passed_on(answer), answer.status, media_type="text/event-stream")
        return Response(await answer.read(), answer.status, media_type=answer.content_type)


async def passed_on(answer: Any) -> AsyncIterator[bytes]:
    """Yield what comes, as it comes."""
    async with answer:
        async for piece in answer.content.iter_any():
            yield piece


def main() -> None:
    port, upstream = int(sys.argv[1]), int(sys.argv[2])
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
    quiet = {"log_level": "ERROR", "enable_access_log": False}
    serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config=quiet)
    app = serve.deployment(Ingress, max_ongoing_requests=MANY, logging_config=quiet)
    serve.run(app.bind(upstream), route_prefix="/", logging_config=quiet)
    threading.Event().wait()


if __name__ == "__main__":
    main()
