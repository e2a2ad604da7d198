"""The store leaves nothing to the search for cyclic garbage, which would hold the head's event loop."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.serving.store.stored import deployed, reopened

from sllm_actors.serving.store.records import (
    ApiKeyRecord,
    DeletionRecord,
    JournalEntry,
    MeasuredRecord,
    NodeRecord,
    PausesRecord,
)
from sllm_actors.serving.store.store import Store
from sllm_actors.serving.store.writes import (
    AddJournal,
    DropApiKey,
    DropDeletion,
    DropNode,
    DropRevision,
    PutApiKey,
    PutDeletion,
    PutMeasured,
    PutNode,
    PutPauses,
    RaiseEpoch,
    RemoveDeployment,
    StoreWrite,
)

TIMES = 20
"""How often something is done; what is left only once was made to be kept."""


def left_by(do: Callable[[int], object]) -> int:
    """Return how many objects of cyclic garbage are left when something was done, but for the first time."""
    do(0)
    gc.collect()
    gc.disable()
    try:
        for number in range(1, TIMES + 1):
            do(number)
        return gc.collect()
    finally:
        gc.enable()


def writes(number: int) -> dict[str, list[StoreWrite]]:
    entry = JournalEntry(1.5, "m:vllm", "noted", "a sentence", number + 1)
    return {
        "deployment": deployed(f"u{number}", f"m{number}:vllm"),
        "node": [PutNode(NodeRecord(f"w{number}", "worker", "box", 2.5))],
        "node that goes": [DropNode(f"w{number}")],
        "measured": [PutMeasured(MeasuredRecord(f"e{number}", "w1", "stopped", 1.5, 9.0))],
        "pauses": [PutPauses(PausesRecord(f"u{number}", '{"3": 1.5}', 2.0, 9.0))],
        "key": [PutApiKey(ApiKeyRecord(f"k{number}", "5f", 1.0, 2.5)), DropApiKey(f"k{number}")],
        "journal": [AddJournal((entry,))],
        "epoch": [RaiseEpoch(number + 2)],
        "removed": [*deployed(f"u{number}", f"m{number}:vllm"), RemoveDeployment(f"u{number}", 3.5)],
        "deletion": [PutDeletion(DeletionRecord(f"u{number}", "m:vllm", 3.5)), DropDeletion(f"u{number}")],
        "revision": [DropRevision(f"u{number}", 1)],
    }


@pytest.mark.slow
@pytest.mark.parametrize("what", writes(0))
def test_a_write_leaves_no_cyclic_garbage(store: Store, what: str) -> None:
    def write(number: int) -> None:
        store.apply(writes(number)[what])

    assert left_by(write) < TIMES


@pytest.mark.slow
def test_keeping_a_key_and_writing_the_file_of_deployments_leave_no_cyclic_garbage(path: Path) -> None:
    def change(number: int) -> None:
        store.apply(deployed(f"u{number}", f"m{number}:vllm"))
        store.bind_key(f"w{number}", "worker", b"key", 1.5)
        store.write_files()
        assert not store.files_are_behind

    with closing(reopened(path, path.parent)) as store:
        assert left_by(change) < TIMES


@pytest.mark.slow
def test_reading_leaves_no_cyclic_garbage(store: Store) -> None:
    store.apply([*deployed("1", "a:vllm"), AddJournal((JournalEntry(1.5, "a:vllm", "noted", "text", 1),))])

    def read(_number: int) -> None:
        store.load()
        store.node_keys()
        store.journal(10)
        store.journal(10, after=0, until=5)

    assert left_by(read) < TIMES
