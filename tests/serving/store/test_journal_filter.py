"""Which entries are about what a person names."""

from __future__ import annotations

import pytest

from sllm_actors.serving.store.journal_filter import EVERYTHING, JournalFilter
from sllm_actors.serving.store.records import JournalEntry

ENTRY = JournalEntry(1.0, "org/m:8b:vllm", "replica.placed", "x", 1, 1, "org/m:8b:vllm@1.0", "w")


@pytest.mark.parametrize("subject", ["", "org/m:8b:vllm", "org/m:8b", "w"])
@pytest.mark.parametrize("kind", ["", "replica", "replica.placed"])
def test_a_deployment_its_model_and_its_worker_have_it_and_so_have_its_kinds(subject: str, kind: str) -> None:
    assert JournalFilter(subject, kind).passes(ENTRY)
    assert EVERYTHING.passes(ENTRY)


@pytest.mark.parametrize("subject", ["org/m", "org", "m:8b", "vllm", "W", "w2"])
def test_what_only_looks_like_it_has_not(subject: str) -> None:
    assert not JournalFilter(subject).passes(ENTRY)


@pytest.mark.parametrize("kind", ["replica.place", "rep", "node", "Replica"])
def test_another_kind_is_left_out(kind: str) -> None:
    assert not JournalFilter("w", kind).passes(ENTRY)
