"""Which refusals are told: each once, with how often it came, however many come."""

from __future__ import annotations

from sllm_actors.transport.refusal_log import AGAIN_AFTER, MOST, RefusalLog


def test_a_host_that_knocks_on_is_told_of_once_and_later_with_how_often_it_came() -> None:
    log = RefusalLog()
    assert [log.note("h", "secret", now / 10) for now in range(1000)] == [1] + [0] * 999
    assert log.note("h", "identity", 100.0) == 1, "another reason is news"
    assert log.note("other", "secret", 100.0) == 1, "and so is another host"
    assert log.note("h", "secret", AGAIN_AFTER) == 1000
    assert log.note("h", "secret", AGAIN_AFTER + 1) == 0
    assert log.counts == {"secret": 1003, "identity": 1}


def test_many_hosts_neither_fill_the_log_nor_memory() -> None:
    log = RefusalLog()
    assert sum(log.note(f"h{number}", "secret", 0.0) for number in range(10 * MOST)) == MOST + 1
    assert log.note("h", "secret", 0.5) == 0
    assert log.note("h", "secret", 1.0) == 1
    assert len(log._told) == MOST
    assert log.counts["secret"] == 10 * MOST + 2


def test_what_nodes_meet_in_passing_is_not_shown_to_people() -> None:
    log = RefusalLog()
    for kind in ("secret", "joining", "linked", "busy", "secret", "silent"):
        log.note("h", kind, 0.0)
    assert log.lasting() == {"secret": 2, "silent": 1}
    assert log.counts.total() == 6
