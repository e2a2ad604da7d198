"""What whoever asks the head is told: a document, or one sentence with the remedy."""

from __future__ import annotations

import json

from sllm_actors.serving.answers import (
    being_changed,
    being_deleted,
    deleting,
    deployed,
    deployed_differently,
    drained,
    invalid,
    no_rollout,
    rollout_paused,
    rollout_resumed,
    store_away,
    undecided,
    undrained,
    unknown,
    updated,
)
from sllm_actors.serving.deployment.problem import DeploymentProblem, Mistake
from sllm_actors.serving.messages import RefusalKind

ID = "m:llamacpp"


def test_what_may_be_found_again_is_asked_for_later() -> None:
    refusal = undecided(ID, 3.2)
    assert (refusal.kind, refusal.code, refusal.retry_after) == (RefusalKind.UNAVAILABLE, "recovering", 4.0)
    assert refusal.message == (
        f"the head does not know {ID}, but its store is new, and it is still finding out what workers run:"
        " ask again in 4 s"
    )


def test_a_deletion_has_begun_and_is_not_over() -> None:
    answer = being_deleted(ID)
    assert answer.pending
    assert json.loads(answer.document) == {
        "status": "deleting",
        "deployment_id": ID,
        "message": f"{ID} is being deleted",
    }


def test_what_cannot_be_done_now_says_when_to_ask_again() -> None:
    for refusal in (being_changed(ID), deleting(ID), store_away("the disk is full")):
        assert refusal.retry_after is not None
    assert store_away("the disk is full").kind is RefusalKind.UNAVAILABLE
    assert unknown(ID).retry_after is None


def test_what_exists_and_what_was_made_are_told_apart() -> None:
    document = json.loads(deployed(ID, 4, ["old key"], created=False).document)
    assert (document["created"], document["revision"], document["warnings"]) == (False, 4, ["old key"])
    first = json.loads(deployed(ID, 1, [], created=True).document)
    assert (first["created"], first["message"]) == (True, f"{ID} is deployed")


def test_other_settings_are_refused_with_the_keys_that_differ() -> None:
    other = deployed_differently(ID, ["num_gpus"])
    assert (other.code, other.param, other.retry_after) == ("deployment_exists", "num_gpus", None)
    assert other.message == (
        f"{ID} is deployed with other settings: num_gpus differs; "
        f"`sllm deploy --update`, `sllm update` or PATCH /deployments/{ID} changes it"
    )
    several = deployed_differently(ID, ["hold_timeout", "num_gpus"])
    assert "other settings: hold_timeout, num_gpus differ; " in several.message


def test_each_mistake_of_a_document_is_passed_on_with_its_key() -> None:
    refused = invalid(DeploymentProblem("a is wrong", "a", [Mistake("so is b", "b")]))
    assert (refused.kind, refused.message) == (RefusalKind.INVALID, "2 mistakes: a is wrong; so is b")
    assert refused.param == "a"
    assert refused.mistakes == (Mistake("a is wrong", "a"), Mistake("so is b", "b"))


def test_an_update_tells_what_has_changed_and_one_that_changes_nothing_says_so() -> None:
    changed = ["backend_config.dtype", "num_gpus"]
    one = updated(ID, revision=3, generation=5, changed=changed, warnings=["old key"])
    document = json.loads(one.document)
    assert document["message"] == f"{ID} is updated: backend_config.dtype, num_gpus"
    assert (document["revision"], document["generation"], document["changed"]) == (3, 5, changed)
    assert (document["created"], document["warnings"]) == (False, ["old key"])
    none = json.loads(updated(ID, revision=3, generation=5, changed=[], warnings=[]).document)
    assert none["message"] == f"{ID} has these settings already"


def test_without_a_rollout_there_is_nothing_to_pause() -> None:
    assert (no_rollout(ID).kind, no_rollout(ID).code) == (RefusalKind.CONFLICT, "no_rollout")


def test_a_rollout_that_is_paused_or_goes_on_is_named_by_its_revision() -> None:
    for answer, status in ((rollout_paused(ID, 3), "paused"), (rollout_resumed(ID, 3), "progressing")):
        document = json.loads(answer.document)
        assert (document["deployment_id"], document["revision"], document["status"]) == (ID, 3, status)
        assert f"revision 3 of {ID}" in document["message"]


def test_draining_goes_on_until_no_replica_is_left() -> None:
    for replicas, sentence in ((2, "2 replicas left"), (1, "1 replica left")):
        answer = drained("id", "rack-1", replicas)
        document = json.loads(answer.document)
        assert answer.pending
        assert document["message"] == f"rack-1 is being drained: {sentence}"
        assert (document["node"], document["status"], document["replicas"]) == ("id", "draining", replicas)
    over = drained("id", "rack-1", 0)
    assert (over.pending, json.loads(over.document)["status"]) == (False, "drained")
    assert json.loads(undrained("id", "rack-1").document)["status"] == "up"
