"""Whether somebody who waits for a revision has to wait on, and how far its rollout is."""

from __future__ import annotations

import pytest

from sllm_actors.cli.answers.deployments import DeploymentDocument, RolloutDocument
from sllm_actors.cli.errors import CommandFailure
from sllm_actors.cli.rollout import in_progress, is_current


def at(revision: int, rollout: RolloutDocument | None = None) -> DeploymentDocument:
    return DeploymentDocument("m:vllm", revision=revision, rollout=rollout)


@pytest.mark.parametrize(
    ("current", "rollout", "done"),
    [
        (1, None, False),
        (2, None, True),
        (3, None, True),
        (1, RolloutDocument(2), False),
        (1, RolloutDocument(2, "some state of a later version"), False),
        (1, RolloutDocument(1, "rolled_back"), False),
        (2, RolloutDocument(1, "rolled_back"), True),
        (2, RolloutDocument(3, "progressing"), True),
        (2, RolloutDocument(3, "rolled_back"), True),
    ],
)
def test_waiting_for_the_second_revision_is_over(
    current: int, rollout: RolloutDocument | None, done: bool
) -> None:
    assert is_current(at(current, rollout), 2) is done


@pytest.mark.parametrize(
    ("rollout", "sentence"),
    [
        (RolloutDocument(2, "rolled_back"), "revision 2 was rolled back, and revision 1 serves"),
        (RolloutDocument(2, "rolled_back", "it broke"), "revision 2 was rolled back, .* serves: it broke"),
        (RolloutDocument(2, "paused", "no room"), "the rollout of revision 2 is paused: no room "),
        (RolloutDocument(3), "revision 2 gave way to revision 3 before it was ready"),
    ],
)
def test_what_does_not_come_by_waiting_is_told(rollout: RolloutDocument, sentence: str) -> None:
    with pytest.raises(CommandFailure, match=rf"^m:vllm: {sentence}"):
        is_current(at(1, rollout), 2)


def test_a_rollout_under_way_tells_how_far_it_is() -> None:
    assert in_progress(at(1)) == ""
    assert in_progress(at(1, RolloutDocument(2, "paused", ready=1, wanted=2))) == ""
    assert in_progress(at(1, RolloutDocument(2, ready=1, wanted=2))) == "revision 2, 1 of 2 replicas ready"
    assert in_progress(at(1, RolloutDocument(2, reason="it waits"))).endswith(
        "0 of 0 replicas ready, it waits"
    )
