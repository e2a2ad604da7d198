"""What the gateway serves, as an OpenAPI document. Pure.

It is of the gateway itself: an engine may have more paths and fields, which the gateway passes on unread.
"""

from __future__ import annotations

from typing import Any

_OBJECT: dict[str, Any] = {"type": "object"}
_LIST_QUERY = ("limit", "cursor", "state")
_LEVEL: dict[str, Any] = {
    "type": "object",
    "properties": {"level": {"type": "integer", "minimum": 0, "maximum": 2}},
}
_SUCCESS: dict[str, Any] = {
    "type": "object",
    "required": ["success"],
    "properties": {"success": {"const": True}},
}
_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}

_SCHEMAS: dict[str, Any] = {
    "Error": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type"],
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "integer", "null"]},
                },
            }
        },
    },
    "Inference": {
        "type": "object",
        "required": ["model"],
        "properties": {
            "model": {"type": "string", "minLength": 1},
            "stream": {"type": "boolean"},
            "backend": {"type": "string"},
            "keep_alive": {"type": ["number", "string", "null"]},
        },
    },
    "Model": {
        "type": "object",
        "required": ["id", "object", "created", "owned_by"],
        "properties": {
            "id": {"type": "string"},
            "object": {"const": "model"},
            "created": {"type": "integer"},
            "owned_by": {"type": "string"},
            "status": {
                "type": "object",
                "properties": {
                    "value": {"enum": ["loaded", "sleeping", "loading", "downloading", "unloaded"]},
                    "state": {"enum": ["ready", "asleep", "starting", "failed", "idle", "pending"]},
                    "failed": {"type": "boolean"},
                },
            },
            "aliases": {"type": "array", "items": {"type": "string"}},
        },
    },
    "Models": {
        "type": "object",
        "required": ["object", "data"],
        "properties": {
            "object": {"const": "list"},
            "data": {"type": "array", "items": {"$ref": "#/components/schemas/Model"}},
        },
    },
    "Health": {
        "type": "object",
        "required": ["status", "head", "deployments"],
        "properties": {
            "status": {"const": "ok"},
            "head": {"enum": ["up", "down"]},
            "deployments": {"type": "integer"},
        },
    },
    "Deployment": {"type": "object", "required": ["model"], "properties": {"model": {"type": "string"}}},
    "Named": {
        "type": "object",
        "required": ["model"],
        "properties": {"model": {"type": "string", "minLength": 1}, "backend": {"type": "string"}},
    },
    "NewKey": {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string", "minLength": 1}, "share": {"type": "number"}},
        "additionalProperties": False,
    },
    "Key": {
        "type": "object",
        "required": ["name", "share", "created"],
        "properties": {
            "name": {"type": "string"},
            "share": {"type": "number"},
            "created": {"type": "number"},
            "key": {"type": "string"},
        },
    },
    "Share": {
        "type": "object",
        "required": ["share"],
        "properties": {"share": {"type": "number"}},
        "additionalProperties": False,
    },
    "Pull": {
        "type": "object",
        "required": ["model"],
        "properties": {
            "model": {"type": "string", "minLength": 1},
            "backend": {"type": "string"},
            "source": {"type": "string"},
            "workers": {"anyOf": [{"const": "all"}, {"type": "array", "items": {"type": "string"}}]},
            "cancel": {"type": "boolean"},
        },
        "additionalProperties": False,
    },
}


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _schema(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _operation(
    summary: str,
    *,
    body: dict[str, Any] | None = None,
    optional: bool = False,
    query: tuple[str, ...] = (),
    answer: dict[str, Any] | None = None,
    begins: bool = False,
    by_id: bool = False,
) -> dict[str, Any]:
    """Describe one method of a path.

    Args:
        summary: What it does.
        body: The schema of the request's body, if it has one.
        optional: Whether the body may be left out.
        query: Its parameters.
        answer: The schema of the answer, or None for one that an engine makes, in whatever form.
        begins: Whether it may answer with 202: it will be so.
        by_id: Whether the path has an id.
    """
    done: dict[str, Any] = {"description": "done"}
    if answer is not None:
        done["content"] = _content(answer)
    responses = {"200": done, "default": {"$ref": "#/components/responses/Error"}}
    if begins:
        responses["202"] = done | {"description": "it will be so"}
    parameters: list[dict[str, Any]] = [{"name": each, "in": "query", "schema": {}} for each in query]
    operation: dict[str, Any] = {"summary": summary, "responses": responses}
    if by_id:
        parameters.insert(0, _ID)
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = {"required": not optional, "content": _content(body)}
    return operation


def _inference(summary: str) -> dict[str, Any]:
    return {"post": _operation(summary, body=_schema("Inference"))}


_PATHS: dict[str, Any] = {
    "/v1/chat/completions": _inference("Answer a chat"),
    "/v1/completions": _inference("Go on with a text"),
    "/v1/embeddings": _inference("Make vectors of texts"),
    "/v1/responses": _inference("Make a response"),
    "/v1/messages": _inference("Answer a chat, as Anthropic defines it"),
    "/v1/messages/count_tokens": _inference("Count the tokens of a chat, as Anthropic defines it"),
    "/v1/models": {"get": _operation("List the models", answer=_schema("Models"))},
    "/models": {"get": _operation("List the models", answer=_schema("Models"))},
    "/v1/models/{id}": {"get": _operation("Describe a model", answer=_schema("Model"), by_id=True)},
    "/health": {"get": _operation("Say whether the gateway serves", answer=_schema("Health"))},
    "/openapi.json": {"get": _operation("Return this document", answer=_OBJECT)},
    "/status": {
        "get": _operation(
            "List deployments and nodes", query=(*_LIST_QUERY, "model", "backend", "node"), answer=_OBJECT
        )
    },
    "/deployments": {
        "get": _operation(
            "List deployments", query=(*_LIST_QUERY, "model", "backend", "node"), answer=_OBJECT
        ),
        "post": _operation(
            "Deploy a model",
            body=_schema("Deployment"),
            query=("update", "allow_downtime"),
            answer=_OBJECT,
            begins=True,
        ),
    },
    "/deployments/{id}": {
        "get": _operation("Describe a deployment", answer=_OBJECT, by_id=True),
        "patch": _operation(
            "Change settings of a deployment by a JSON merge patch",
            body=_OBJECT,
            query=("allow_downtime",),
            answer=_OBJECT,
            begins=True,
            by_id=True,
        ),
        "delete": _operation("Delete a deployment", answer=_OBJECT, begins=True, by_id=True),
    },
    "/deployments/{id}/pause": {
        "post": _operation("Pause a rollout", answer=_OBJECT, begins=True, by_id=True)
    },
    "/deployments/{id}/resume": {
        "post": _operation(
            "Go on with a rollout", query=("allow_downtime",), answer=_OBJECT, begins=True, by_id=True
        )
    },
    "/deployments/{id}/load": {
        "post": _operation("Have a replica ready", answer=_OBJECT, begins=True, by_id=True)
    },
    "/deployments/{id}/unload": {
        "post": _operation(
            "Stop all replicas until the next request",
            query=("force",),
            answer=_OBJECT,
            begins=True,
            by_id=True,
        )
    },
    "/deployments/{id}/sleep": {
        "post": _operation(
            "Put the replicas to sleep", body=_LEVEL, optional=True, answer=_OBJECT, begins=True, by_id=True
        )
    },
    "/deployments/{id}/wake": {
        "post": _operation("Wake the replicas", answer=_OBJECT, begins=True, by_id=True)
    },
    "/models/load": {
        "post": _operation(
            "Have a replica of a model ready", body=_schema("Named"), answer=_SUCCESS, begins=True
        )
    },
    "/models/unload": {
        "post": _operation(
            "Stop all replicas of a model until the next request",
            body=_schema("Named"),
            answer=_SUCCESS,
            begins=True,
        )
    },
    "/update": {
        "post": _operation(
            "Change settings of the deployment of a model",
            body=_schema("Deployment"),
            answer=_OBJECT,
            begins=True,
        )
    },
    "/register": {
        "post": _operation(
            "Deploy a model, as ServerlessLLM has it", body=_schema("Deployment"), answer=_OBJECT, begins=True
        )
    },
    "/delete": {
        "post": _operation(
            "Delete the deployment of a model, as ServerlessLLM has it",
            body=_schema("Named"),
            answer=_OBJECT,
            begins=True,
        )
    },
    "/nodes": {"get": _operation("List nodes", query=(*_LIST_QUERY, "role"), answer=_OBJECT)},
    "/nodes/{id}": {
        "delete": _operation("Forget a node that will not come back", answer=_OBJECT, by_id=True)
    },
    "/nodes/{id}/drain": {
        "post": _operation("Move the replicas of a worker away", answer=_OBJECT, begins=True, by_id=True)
    },
    "/nodes/{id}/undrain": {
        "post": _operation("Place replicas on a worker again", answer=_OBJECT, begins=True, by_id=True)
    },
    "/keys": {
        "get": _operation("List the API keys", answer=_OBJECT),
        "post": _operation(
            "Make an API key, and show it once", body=_schema("NewKey"), answer=_schema("Key")
        ),
    },
    "/keys/{id}": {
        "patch": _operation(
            "Give an API key another share", body=_schema("Share"), answer=_schema("Key"), by_id=True
        ),
        "delete": _operation("Delete an API key", answer=_OBJECT, by_id=True),
    },
    "/models/pull": {
        "post": _operation(
            "Bring the files of a model to workers", body=_schema("Pull"), answer=_OBJECT, begins=True
        )
    },
    "/models/pull/{id}": {
        "get": _operation("Say how far a pull is", answer=_OBJECT, by_id=True),
        "delete": _operation("Cancel a pull", answer=_OBJECT, by_id=True),
    },
    "/events": {
        "get": _operation(
            "List what the head decided, or follow it as server-sent events",
            query=("limit", "after", "subject", "kind", "follow"),
            answer=_OBJECT,
        )
    },
    "/instances/{id}/logs": {
        "get": _operation(
            "Read a piece of an instance's log", query=("offset", "limit"), answer=_OBJECT, by_id=True
        )
    },
    "/instances/{id}/sleep": {
        "post": _operation(
            "Put an instance to sleep",
            body=_LEVEL,
            optional=True,
            answer=_OBJECT,
            begins=True,
            by_id=True,
        )
    },
    "/instances/{id}/wake_up": {
        "post": _operation("Wake an instance", answer=_OBJECT, begins=True, by_id=True)
    },
}

DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {
        "title": "sllm_actors",
        "version": "1",
        "description": "The OpenAI API and the control API of a gateway. What an engine has beside them under"
        " /v1 is passed on to it. Where the gateway is bound to loopback, no key is wanted. Elsewhere,"
        " API keys open requests to models and the list of models, and the admin key opens everything.",
    },
    "security": [{}, {"key": []}],
    "paths": _PATHS,
    "components": {
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        "schemas": _SCHEMAS,
        "responses": {
            "Error": {
                "description": "what is wrong, and what to do; at /v1/messages in Anthropic's shape",
                "content": _content(_schema("Error")),
            }
        },
    },
}
"""The document that ``GET /openapi.json`` returns."""
