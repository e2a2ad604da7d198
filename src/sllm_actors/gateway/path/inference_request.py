"""An inference request: what a gateway reads of it, and the body that an engine gets of it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from sllm_actors.engines.external import ServerAccess
from sllm_actors.gateway import errors
from sllm_actors.gateway.headers import Headers, query_for_engine
from sllm_actors.gateway.routing.route import Route

from .assembly import ASSEMBLIES, Assembly


@frozen
class InferenceRequest:
    """A request whose body was read whole.

    Attributes:
        id: The id of the request, for logs and the header ``X-Request-Id``.
        path: The path, as ``/v1/chat/completions``.
        target: The path and the query as they came, without parameters that are credentials.
        headers: The headers as they came, names in lower case.
        body: The body as it came.
        document: The body, read as JSON. Of a key that comes twice the last value counts, as in engines.
        model: The name of a model, or a deployment's id.
        backend: Which deployment of that model the client wants, or None.
        stream: Whether the client wants server-sent events.
    """

    id: str
    path: str
    target: str
    headers: Headers
    body: bytes
    document: Mapping[str, Any]
    model: str
    backend: str | None
    stream: bool

    def assembly(self, route: Route) -> Assembly | None:
        """Return a new assembly if the engine must stream although its client does not, else None."""
        if self.stream or route.served is None or route.served.backend != "llamacpp":
            return None
        kind = ASSEMBLIES.get(self.path)
        return None if kind is None else kind()

    def body_for(self, route: Route, server: ServerAccess | None = None, *, assembled: bool = False) -> bytes:
        """Return the body for an engine: the client's own bytes, unless a key of it must differ.

        Args:
            route: The route of the deployment, whose name for the model engines know.
            server: How an external server is reached, or None for an engine. Such a server has its own name
                for the model, and may refuse keys that it does not know, as ``backend``.
            assembled: Whether the engine is to stream, and to tell its usage, for an assembly.
        """
        changes: dict[str, Any] = {}
        name = server.model if server is not None else route.served.model if route.served is not None else ""
        if name and self.model != name:
            changes["model"] = name
        if assembled:
            options = self.document.get("stream_options")
            changes["stream"] = True
            changes["stream_options"] = {
                **(options if isinstance(options, dict) else {}),
                "include_usage": True,
            }
        document = self.document
        if server is not None and "backend" in document:
            document = {key: value for key, value in document.items() if key != "backend"}
        elif not changes:
            return self.body
        return json.dumps({**document, **changes}).encode()


def parse_request(
    request_id: str, path: str, query: bytes, headers: Headers, body: bytes
) -> InferenceRequest:
    """Read a request.

    Args:
        request_id: The id of the request.
        path: The path, without the query.
        query: The query, without the question mark.
        headers: The headers, names in lower case.
        body: The whole body.

    Raises:
        ApiError: The body is not a JSON object with a ``model`` (400).
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else f"not JSON: {error}"
        raise errors.bad_request(f"the request's body is {what}", code="invalid_json") from None
    if not isinstance(document, dict):
        raise errors.bad_request("the request's body must be a JSON object", code="invalid_json")
    model, backend = document.get("model"), document.get("backend")
    if not isinstance(model, str) or not model:
        raise errors.model_required()
    if backend is not None and not isinstance(backend, str):
        raise errors.bad_request('"backend" must be the name of a backend', param="backend")
    rest = query_for_engine(query.decode("latin-1")) if query else ""
    target = f"{path}?{rest}" if rest else path
    return InferenceRequest(
        request_id, path, target, headers, body, document, model, backend, document.get("stream") is True
    )
