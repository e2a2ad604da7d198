"""A ticket says all about a pull, and what is no ticket is refused."""

from __future__ import annotations

import base64
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.serving.pulls.messages import PullPlace, PullPlan, PullState
from sllm_actors.serving.pulls.ticket import LARGEST, LONGEST, TicketProblem, read_ticket, write_ticket

places = st.builds(PullPlace, st.text(max_size=20), st.text(max_size=20))
plans = st.builds(PullPlan, st.text(max_size=20), st.text(max_size=80), st.lists(places).map(tuple))


def packed(value: object) -> str:
    plain = zlib.compress(json.dumps(value).encode())
    return base64.urlsafe_b64encode(plain).decode().rstrip("=")


@given(plans)
def test_it_is_read_as_it_was_written_and_fits_a_path(plan: PullPlan) -> None:
    ticket = write_ticket(plan)
    assert ticket.replace("-", "").replace("_", "").isalnum()
    assert read_ticket(ticket) == plan


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense!",
        "é",
        "AAAA",
        "A" * (LONGEST + 1),
        packed(1),
        packed(["b", "s", [["node"]]]),
        packed(["b", "s", [1]]),
        packed(["b", "s", "w"]),
        packed("x" * LARGEST),
        write_ticket(PullPlan("b", "s", ()))[:-2],
    ],
)
def test_what_is_no_ticket_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(TicketProblem, match=r"^there is no pull '.{0,40}': POST /models/pull gives its id$"):
        read_ticket(text)


def test_what_waits_or_is_being_brought_goes_on_by_itself_and_nothing_else() -> None:
    assert {each for each in PullState if each.under_way} == {PullState.QUEUED, PullState.PULLING}


def test_a_ticket_that_unpacks_into_much_costs_no_memory() -> None:
    bomb = base64.urlsafe_b64encode(zlib.compress(b"[" * 20_000_000)).decode()
    assert len(bomb) < LONGEST
    with pytest.raises(TicketProblem):
        read_ticket(bomb)
