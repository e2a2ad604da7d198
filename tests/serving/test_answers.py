"""What whoever asks the head is told: a document, or one sentence with the remedy."""

from __future__ import annotations

import json

from attrs import evolve

from sllm_actors.serving.answers import (
    being_deleted,
    being_deployed,
    deployed,
    deployed_already,
    store_away,
    unknown,
)
from sllm_actors.serving.messages import Done, Refusal, RefusalKind

from .kit import deployment, spec

ID = "m:llamacpp"


def test_a_deletion_has_begun_and_is_not_over() -> None:
    answer = being_deleted(ID)
    assert answer.pending
    assert json.loads(answer.document) == {
        "status": "deleting",
        "deployment_id": ID,
        "message": f"{ID} is being deleted",
    }


def test_what_cannot_be_done_now_says_when_to_ask_again() -> None:
    for refusal in (being_deployed(ID), store_away("the disk is full")):
        assert refusal.retry_after is not None
    assert store_away("the disk is full").kind is RefusalKind.UNAVAILABLE
    assert unknown(ID).retry_after is None


def test_the_same_deployment_again_is_no_mistake() -> None:
    answer = deployed_already(deployment(), deployment().spec, ["old key"])
    assert isinstance(answer, Done)
    document = json.loads(answer.document)
    assert (document["created"], document["warnings"]) == (False, ["old key"])
    first = json.loads(deployed(deployment(), [], created=True).document)
    assert (first["created"], first["message"]) == (True, f"{ID} is deployed")


def test_other_settings_are_refused_and_so_is_what_is_being_deleted() -> None:
    other = deployed_already(deployment(), spec(gpus=3), [])
    assert isinstance(other, Refusal)
    assert (other.code, other.retry_after) == ("deployment_exists", None)
    going = deployed_already(evolve(deployment(), deleting=True), deployment().spec, [])
    assert isinstance(going, Refusal)
    assert (going.code, going.retry_after) == ("deployment_deleting", 1.0)
