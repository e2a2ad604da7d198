"""What the head answers to control requests: HTTP statuses and JSON documents."""

from __future__ import annotations

import json
from typing import Any

from .messages import Answer
from .reconcile import Deployment


def answer(status: int, body: dict[str, Any]) -> Answer:
    """Answer with a document."""
    return Answer(status, json.dumps(body))


def refusal(
    status: int, message: str, code: str, param: str | None = None, retry_after: float | None = None
) -> Answer:
    """Refuse, with one sentence for a person and a code for a program."""
    kind = (
        "server_error" if status >= 500 else "not_found_error" if status == 404 else "invalid_request_error"
    )
    body = {"message": message, "type": kind, "param": param, "code": code}
    return Answer(status, json.dumps(body), retry_after)


def unknown(name: str) -> Answer:
    """Refuse what is about a deployment that does not exist."""
    return refusal(404, f"there is no deployment {name}: `sllm status` lists them", "deployment_not_found")


def deployed(deployment: Deployment, warnings: list[str], *, created: bool) -> Answer:
    """Say that a deployment is kept."""
    name = deployment.spec.id
    body = {
        "deployment_id": name,
        "status": "active",
        "revision": deployment.revision,
        "created": created,
        "message": f"{name} is deployed" if created else f"{name} already exists with these settings",
        "warnings": warnings,
    }
    return answer(200, body)
