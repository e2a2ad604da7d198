"""The head's answers to control requests: documents and sentences. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from sllm_actors.serving.deployment.changes import shown_keys
from sllm_actors.serving.deployment.problem import DeploymentProblem

from .messages import Done, Refusal, RefusalKind


def done(body: Any, *, pending: bool = False) -> Done:
    """Answer with a document; ``body`` is what ``json.dumps`` takes."""
    return Done(json.dumps(body), pending)


def invalid(problem: DeploymentProblem) -> Refusal:
    """Refuse a document or a patch, with all that is wrong with it."""
    sentence, mistakes = str(problem), problem.mistakes
    return Refusal(RefusalKind.INVALID, "invalid_deployment", sentence, problem.param, mistakes=mistakes)


def name_taken(name: str, owner: str) -> Refusal:
    """Refuse a deployment that would have a name that another deployment has."""
    sentence = (
        f"{name} is a name of {owner}: choose another one, or take it out of the aliases of one of the two"
    )
    return Refusal(RefusalKind.CONFLICT, "name_taken", sentence, "aliases")


def unknown(name: str) -> Refusal:
    """Refuse a request about a deployment that does not exist."""
    sentence = f"there is no deployment {name}: `sllm status` lists them"
    return Refusal(RefusalKind.UNKNOWN, "deployment_not_found", sentence)


def undecided(name: str, seconds: float) -> Refusal:
    """Refuse a request about an id that the head does not know, while workers may run it: the store was lost.

    Args:
        name: The id.
        seconds: In how many seconds it is known.
    """
    sentence = (
        f"the head does not know {name}, but its store is new, and it is still finding out"
        f" what workers run: ask again in {math.ceil(seconds)} s"
    )
    return Refusal(RefusalKind.UNAVAILABLE, "recovering", sentence, retry_after=float(math.ceil(seconds)))


def being_changed(name: str) -> Refusal:
    """Refuse a request about a deployment or node that another request is just changing."""
    sentence = f"another request is just changing {name}: ask again in a moment"
    return Refusal(RefusalKind.CONFLICT, "change_under_way", sentence, retry_after=1.0)


def being_deleted(name: str) -> Done:
    """Answer that a deployment is being deleted."""
    body = {"status": "deleting", "deployment_id": name, "message": f"{name} is being deleted"}
    return done(body, pending=True)


def store_away(problem: str) -> Refusal:
    """Refuse a request that cannot be stored; ``problem`` is the sentence of a ``StoreProblem``."""
    return Refusal(RefusalKind.UNAVAILABLE, "store_unavailable", problem, retry_after=5.0)


def deleting(name: str) -> Refusal:
    """Refuse to deploy or change what is being deleted."""
    sentence = f"{name} is being deleted: deploy it again in a moment"
    return Refusal(RefusalKind.CONFLICT, "deployment_deleting", sentence, retry_after=1.0)


def deployed_differently(name: str, keys: Sequence[str]) -> Refusal:
    """Refuse to deploy an id that exists with other settings; ``keys`` are those that differ."""
    differ = "differs" if len(keys) == 1 else "differ"
    sentence = (
        f"{name} is deployed with other settings: {shown_keys(keys)} {differ}; "
        f"`sllm deploy --update`, `sllm update` or PATCH /deployments/{name} changes it"
    )
    return Refusal(RefusalKind.CONFLICT, "deployment_exists", sentence, keys[0])


def deployed(name: str, revision: int, warnings: Sequence[str], *, created: bool) -> Done:
    """Answer that a deployment exists; ``created`` tells whether this request has made it."""
    body = {
        "deployment_id": name,
        "status": "active",
        "revision": revision,
        "created": created,
        "message": f"{name} is deployed" if created else f"{name} already exists with these settings",
        "warnings": list(warnings),
    }
    return done(body)


def updated(
    name: str, *, revision: int, generation: int, changed: Sequence[str], warnings: Sequence[str]
) -> Done:
    """Answer that a deployment has new settings.

    Args:
        name: The deployment's id.
        revision: The revision that it has with them, or will have when its rollout is over.
        generation: The generation of its policy.
        changed: What ``differing_keys`` says of the settings before and after; empty if nothing changes.
        warnings: Sentences for the author.
    """
    shown = f"{name} is updated: {shown_keys(changed)}" if changed else f"{name} has these settings already"
    body = {
        "deployment_id": name,
        "status": "active",
        "revision": revision,
        "generation": generation,
        "created": False,
        "changed": list(changed),
        "message": shown,
        "warnings": list(warnings),
    }
    return done(body)


def rollout_paused(name: str, revision: int) -> Done:
    """Answer that the rollout of a revision is paused."""
    return _rollout(name, revision, "paused", f"the rollout of revision {revision} of {name} is paused")


def rollout_resumed(name: str, revision: int) -> Done:
    """Answer that the rollout of a revision goes on."""
    return _rollout(name, revision, "progressing", f"the rollout of revision {revision} of {name} goes on")


def no_rollout(name: str) -> Refusal:
    """Refuse to pause or resume where nothing is rolled out."""
    sentence = f"{name} has no rollout under way: `sllm status {name}` shows its revision"
    return Refusal(RefusalKind.CONFLICT, "no_rollout", sentence)


def drained(node: str, name: str, replicas: int) -> Done:
    """Answer that a node is being drained, or is if ``replicas``, the number of those left on it, is 0."""
    if replicas:
        sentence = f"{name} is being drained: {replicas} replica{'s' if replicas > 1 else ''} left"
    else:
        sentence = f"{name} is drained: no replica is placed there until it is undrained"
    body = {
        "node": node,
        "name": name,
        "status": "draining" if replicas else "drained",
        "replicas": replicas,
        "message": sentence,
    }
    return done(body, pending=replicas > 0)


def undrained(node: str, name: str) -> Done:
    """Answer that replicas may be placed on a node again."""
    sentence = f"replicas may be placed on {name} again"
    return done({"node": node, "name": name, "status": "up", "replicas": None, "message": sentence})


def removed(node: str, name: str) -> Done:
    """Answer that a node is forgotten; ``node`` is "" where none was known."""
    known = f"{name} is removed: its name and its id are free for another node"
    sentence = known if node else f"no node {name} is known: there is nothing to remove"
    return done({"node": node or None, "name": name, "removed": bool(node), "message": sentence})


def node_is_up(name: str, *, works: bool) -> Refusal:
    """Refuse to remove a node that is linked."""
    first = f"drain it (sllm drain {name} --wait) and stop it" if works else "stop it"
    return Refusal(RefusalKind.CONFLICT, "node_up", f"{name} is up: {first} first")


def node_is_suspect(name: str, seconds: float) -> Refusal:
    """Refuse to remove a worker whose link was lost a moment ago."""
    sentence = f"{name} was linked a moment ago, and what it runs still counts: ask again when it is down"
    return Refusal(RefusalKind.CONFLICT, "node_suspect", sentence, retry_after=seconds)


def _rollout(name: str, revision: int, state: str, sentence: str) -> Done:
    body = {"deployment_id": name, "status": state, "revision": revision, "message": sentence}
    return done(body)
