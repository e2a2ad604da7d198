"""The head's answers to control requests: documents and sentences. Pure."""

from __future__ import annotations

import json
from typing import Any

from sllm_actors.serving.decisions.reconcile import Deployment
from sllm_actors.serving.deployment.spec import DeploymentSpec

from .messages import ControlAnswer, Done, Refusal, RefusalKind


def done(body: Any, *, pending: bool = False) -> Done:
    """Answer with a document; ``body`` is what ``json.dumps`` takes."""
    return Done(json.dumps(body), pending)


def unknown(name: str) -> Refusal:
    """Refuse a request about a deployment that does not exist."""
    sentence = f"there is no deployment {name}: `sllm status` lists them"
    return Refusal(RefusalKind.UNKNOWN, "deployment_not_found", sentence)


def being_deployed(name: str) -> Refusal:
    """Refuse a request about a deployment on which workers are still being asked."""
    sentence = f"{name} is just being deployed: ask again in a moment"
    return Refusal(RefusalKind.CONFLICT, "deployment_exists", sentence, retry_after=1.0)


def being_deleted(name: str) -> Done:
    """Answer that a deployment is being deleted."""
    body = {"status": "deleting", "deployment_id": name, "message": f"{name} is being deleted"}
    return done(body, pending=True)


def store_away(problem: str) -> Refusal:
    """Refuse a request that cannot be stored; ``problem`` is the sentence of a ``StoreProblem``."""
    return Refusal(RefusalKind.UNAVAILABLE, "store_unavailable", problem, retry_after=5.0)


def deployed_already(known: Deployment, spec: DeploymentSpec, warnings: list[str]) -> ControlAnswer:
    """Answer a request to deploy an id that exists already: with the same settings it succeeds."""
    if known.deleting:
        sentence = f"{spec.id} is being deleted: deploy it again in a moment"
        return Refusal(RefusalKind.CONFLICT, "deployment_deleting", sentence, retry_after=1.0)
    if known.spec != spec:
        sentence = f"{spec.id} is deployed with other settings: delete it first"
        return Refusal(RefusalKind.CONFLICT, "deployment_exists", sentence)
    return deployed(known, warnings, created=False)


def deployed(deployment: Deployment, warnings: list[str], *, created: bool) -> Done:
    """Answer that a deployment exists; ``created`` tells whether this request has made it."""
    name = deployment.spec.id
    body = {
        "deployment_id": name,
        "status": "active",
        "revision": deployment.revision,
        "created": created,
        "message": f"{name} is deployed" if created else f"{name} already exists with these settings",
        "warnings": warnings,
    }
    return done(body)
