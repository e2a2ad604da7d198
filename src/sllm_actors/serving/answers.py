"""What the head answers to control requests: HTTP statuses and JSON documents."""

from __future__ import annotations

import json
from typing import Any

from sllm_actors.serving.decisions.reconcile import Deployment
from sllm_actors.serving.deployment.spec import DeploymentSpec

from .messages import ControlAnswer
from .store import StoreProblem


def answer(status: int, body: dict[str, Any]) -> ControlAnswer:
    """Answer with a document."""
    return ControlAnswer(status, json.dumps(body))


def refusal(
    status: int, message: str, code: str, param: str | None = None, retry_after: float | None = None
) -> ControlAnswer:
    """Refuse, with one sentence for a person and a code for a program."""
    kind = (
        "server_error" if status >= 500 else "not_found_error" if status == 404 else "invalid_request_error"
    )
    body = {"message": message, "type": kind, "param": param, "code": code}
    return ControlAnswer(status, json.dumps(body), retry_after)


def unknown(name: str) -> ControlAnswer:
    """Refuse what is about a deployment that does not exist."""
    return refusal(404, f"there is no deployment {name}: `sllm status` lists them", "deployment_not_found")


def being_deployed(name: str) -> ControlAnswer:
    """Refuse what is about a deployment that is not decided yet."""
    sentence = f"{name} is just being deployed: ask again in a moment"
    return refusal(409, sentence, "deployment_exists", retry_after=1.0)


def being_deleted(name: str) -> ControlAnswer:
    """Say that a deployment is on its way out."""
    body = {"status": "deleting", "deployment_id": name, "message": f"{name} is being deleted"}
    return answer(202, body)


def store_away(problem: StoreProblem) -> ControlAnswer:
    """Refuse what cannot be kept."""
    return refusal(503, str(problem), "store_unavailable", retry_after=5.0)


def deployed_already(known: Deployment, spec: DeploymentSpec, warnings: list[str]) -> ControlAnswer:
    """Answer a request to deploy what is there under that id: the same again is no mistake."""
    if known.deleting:
        sentence = f"{spec.id} is being deleted: deploy it again in a moment"
        return refusal(409, sentence, "deployment_deleting", retry_after=1.0)
    if known.spec != spec:
        sentence = f"{spec.id} is deployed with other settings: delete it first"
        return refusal(409, sentence, "deployment_exists")
    return deployed(known, warnings, created=False)


def deployed(deployment: Deployment, warnings: list[str], *, created: bool) -> ControlAnswer:
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
