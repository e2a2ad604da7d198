"""Bodies are bounded, each by itself and all together, and what they held is given back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.gateway.path.clients.budget import ByteBudget
from sllm_actors.gateway.path.clients.request_body import RequestBody


@given(st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=6))), st.integers(0, 20))
def test_the_budget_holds_what_the_bodies_do(pieces: list[tuple[int, bytes]], limit: int) -> None:
    budget = ByteBudget(limit)
    bodies = [RequestBody(12, budget) for _ in range(3)]
    kept = [b"", b"", b""]
    for which, piece in pieces:
        refusal = bodies[which].add(piece)
        if len(kept[which]) + len(piece) > 12:
            assert refusal is not None
            assert refusal.status == 413
        elif sum(map(len, kept)) + len(piece) > limit:
            assert refusal is not None
            assert refusal.status == 503
        else:
            assert refusal is None
            kept[which] += piece
        assert budget.held == sum(map(len, kept)) <= limit
    for body, data in zip(bodies, kept, strict=True):
        assert body.whole() == body.whole() == data
        body.release()
        body.release()
    assert budget.held == 0


def test_a_body_that_was_decoded_counts_by_what_it_became() -> None:
    budget = ByteBudget(100)
    body = RequestBody(10, budget)
    body.add(b"ab")
    body.add(b"cd")
    whole = body.whole()
    body.replace(whole)
    assert (body.size, budget.held) == (4, 4)
    body.replace(b"x" * 50)
    assert (body.whole(), budget.held) == (b"x" * 50, 50)
    body.release()
    assert budget.held == 0
