"""Which writes change what is kept of deployments beside the database."""

from __future__ import annotations

import pytest

from sllm_actors.serving.store.records import (
    ApiKeyRecord,
    DeletionRecord,
    DeploymentRecord,
    JournalEntry,
    MeasuredRecord,
    NodeRecord,
    PausesRecord,
    RevisionRecord,
)
from sllm_actors.serving.store.writes import (
    AddJournal,
    DropApiKey,
    DropDeletion,
    DropNode,
    DropNodeKey,
    DropRevision,
    PutApiKey,
    PutDeletion,
    PutDeployment,
    PutMeasured,
    PutNode,
    PutPauses,
    PutRevision,
    RaiseEpoch,
    RemoveDeployment,
    StoreWrite,
    change_deployments,
)

OTHERS: list[StoreWrite] = [
    PutNode(NodeRecord("w", "worker")),
    DropNode("w"),
    DropNodeKey("w"),
    PutMeasured(MeasuredRecord("f", "w", "memory", 5.0, 1.0)),
    PutPauses(PausesRecord("u", "{}", 0.0, 1.0)),
    PutApiKey(ApiKeyRecord("chat", "5f", 1.0, 2.0)),
    DropApiKey("chat"),
    RaiseEpoch(2),
    AddJournal((JournalEntry(1.0, "m:vllm", "deployed", "m:vllm was deployed"),)),
]


@pytest.mark.parametrize(
    "write",
    [
        PutDeployment(DeploymentRecord("u", "m:vllm", 1.0)),
        PutRevision(RevisionRecord("u", 1, "{}", 1.0)),
        DropRevision("u", 1),
        RemoveDeployment("u", 2.0),
        PutDeletion(DeletionRecord("u", "m:vllm", 2.0)),
        DropDeletion("u"),
    ],
)
def test_a_write_about_a_deployment_changes_deployments(write: StoreWrite) -> None:
    assert change_deployments([*OTHERS, write])


def test_nodes_measurements_epochs_and_the_journal_are_no_deployments() -> None:
    assert not change_deployments(OTHERS)
    assert not change_deployments([])
