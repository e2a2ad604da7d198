"""What an id names is found where it was made, as long as it is remembered."""

from __future__ import annotations

from sllm_actors.engines.identity import ReplicaId
from sllm_actors.serving.sticky_ids import LONGEST, StickyIds

ONE, TWO = (ReplicaId("m:vllm", 1, number, 1) for number in (1, 2))


def test_an_id_leads_to_the_replica_that_made_it_last() -> None:
    ids = StickyIds()
    assert ids.find("resp_1") is None
    ids.remember("resp_1", ONE)
    ids.remember("resp_2", ONE)
    ids.remember("resp_1", TWO)
    assert (ids.find("resp_1"), ids.find("resp_2"), len(ids)) == (TWO, ONE, 2)


def test_what_is_too_long_for_an_id_is_not_remembered() -> None:
    ids = StickyIds()
    ids.remember("x" * LONGEST, ONE)
    ids.remember("y" * (LONGEST + 1), ONE)
    assert (ids.find("x" * LONGEST), len(ids)) == (ONE, 1)


def test_what_was_used_least_recently_is_forgotten_first() -> None:
    ids = StickyIds(limit=2)
    ids.remember("resp_1", ONE)
    ids.remember("resp_2", ONE)
    assert ids.find("resp_1") is ONE
    ids.remember("resp_3", TWO)
    assert (ids.find("resp_1"), ids.find("resp_2"), ids.find("resp_3")) == (ONE, None, TWO)
