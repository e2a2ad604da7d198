"""Asking a picture, and taking its answers apart."""

from __future__ import annotations

import json
from typing import Any

from tests.serving.picture.world import World

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.serving.messages import Done, Refusal
from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.views.answers import answer
from sllm_actors.serving.views.messages import DescribeDeployment, ListQuestion, Question


def ask(world: World, question: Question) -> Any:
    """Return the JSON document of an answer."""
    said = answer(world.picture, question, world.now)
    assert isinstance(said, Done), said
    return json.loads(said.document)


def refused(world: World, question: Question) -> Refusal:
    """Return why a question is not answered."""
    said = answer(world.picture, question, world.now)
    assert isinstance(said, Refusal), said
    return said


def described(world: World, deployment: Deployment) -> Any:
    """Return one deployment as it is shown."""
    return ask(world, DescribeDeployment(deployment.id))


def pages(world: World, question: ListQuestion) -> list[Any]:
    """Return all pages of a list, one document each."""
    from attrs import evolve

    found = []
    while True:
        said = answer(world.picture, question, world.now)
        assert isinstance(said, Done), said
        found.append(json.loads(said.document))
        if not said.next:
            return found
        question = evolve(question, cursor=said.next)


def only_key(deployment: Deployment) -> ReplicaKey:
    """Return the key of the only replica of a deployment."""
    (key,) = deployment.replicas
    return key
