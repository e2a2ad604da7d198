"""One queue of what is looked at now and then."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.gateway.path.deadlines import Rounds


def test_each_member_is_due_once_a_period_from_when_it_joined() -> None:
    rounds: Rounds[str] = Rounds(10.0)
    rounds.join("a", 0.0)
    rounds.join("b", 5.0)
    assert rounds.members() == ["a", "b"]
    assert rounds.due(9.9) == []
    assert rounds.due(10.0) == ["a"]
    assert rounds.due(14.9) == []
    assert rounds.due(100.0) == ["b", "a"]
    rounds.join("b", 101.0)  # anew
    assert rounds.due(110.0) == ["a"]
    rounds.leave("a")
    rounds.leave("a")
    assert (len(rounds), rounds.members()) == (1, ["b"])


@given(st.lists(st.tuples(st.sampled_from(["join", "leave", "look"]), st.integers(0, 3), st.floats(0, 7))))
def test_no_member_waits_longer_than_a_period_for_a_look_that_comes(
    steps: list[tuple[str, int, float]],
) -> None:
    rounds: Rounds[int] = Rounds(10.0)
    since: dict[int, float] = {}
    now = 0.0
    for step, member, seconds in steps:
        now += seconds
        if step == "join":
            rounds.join(member, now)
            since[member] = now
        elif step == "leave":
            rounds.leave(member)
            since.pop(member, None)
        else:
            due = {each for each, at in since.items() if at + 10.0 <= now}
            assert set(rounds.due(now)) == due
            since.update(dict.fromkeys(due, now))
        assert set(rounds.members()) == set(since)
