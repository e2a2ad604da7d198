"""What a gateway has to know of an inference request before it passes it on."""

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
        target: Path and query as they came, without what the client is trusted by.
        headers: As they came, names in lower case.
        document: The body, read as JSON; of a key that comes twice the last one counts, as engines do it.
        backend: Which deployment of the model, where the client said so.
        stream: The client wants server-sent events.
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
        """Return what makes one answer of a stream, if this has to be streamed behind the client's back."""
        if self.stream or route.served is None or route.served.backend != "llamacpp":
            return None
        kind = ASSEMBLIES.get(self.path)
        return None if kind is None else kind()

    def body_for(self, route: Route, server: ServerAccess | None = None, *, assembled: bool = False) -> bytes:
        """Return the body for an engine: the client's own bytes, unless something must differ.

        Args:
            server: Where somebody else runs it: it has a name of its own for the model, and may refuse keys
                that it does not know.
            assembled: It is to answer by a stream.
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
    """Read what routing needs.

    Raises:
        ApiError: The body is not a JSON object with a ``model``.
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
        raise errors.bad_request(
            'the request needs a "model": a name that GET /v1/models lists',
            param="model",
            code="model_required",
        )
    if backend is not None and not isinstance(backend, str):
        raise errors.bad_request('"backend" must be the name of a backend', param="backend")
    rest = query_for_engine(query.decode("latin-1")) if query else ""
    target = f"{path}?{rest}" if rest else path
    return InferenceRequest(
        request_id, path, target, headers, body, document, model, backend, document.get("stream") is True
    )
