"""A reason survives its trip as a line of text, and is always short."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.actors import GONE, KILLED, NORMAL, SHUTDOWN, ExitReason, Failed, NodeDown, SystemFailed
from sllm_actors.actors.exits import LONGEST_TEXT, one_line, parse

words = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=20)
sentences = st.lists(words, max_size=6).map(" ".join)
reasons = st.one_of(
    st.sampled_from([NORMAL, SHUTDOWN, KILLED, GONE]),
    st.builds(Failed, words, sentences),
    st.builds(NodeDown, sentences),
)


@given(reasons)
def test_a_reason_is_read_back_from_its_line(reason: ExitReason) -> None:
    assert parse(str(reason)) == reason


@given(st.text(max_size=50))
def test_any_line_of_a_peer_is_a_reason(text: str) -> None:
    assert "\n" not in str(parse(text))


def test_a_line_of_a_later_version_is_a_failure_that_shows_it() -> None:
    assert parse("evicted: by quota") == Failed("ExitReason", "evicted: by quota")
    assert parse("failed") == Failed("ExitReason", "failed")


@pytest.mark.parametrize(
    ("reason", "normal"),
    [
        (NORMAL, True),
        (SHUTDOWN, True),
        (KILLED, False),
        (GONE, False),
        (Failed("X"), False),
        (NodeDown("x"), False),
    ],
)
def test_only_normal_and_shutdown_leave_a_transient_child_down(reason: ExitReason, normal: bool) -> None:
    assert reason.is_normal is normal


def test_a_failure_is_one_short_line_whatever_the_exception_says() -> None:
    failed = Failed.of(ValueError("a\nb" * 10_000))
    assert failed.type_name == "ValueError"
    assert len(failed.message) <= LONGEST_TEXT
    assert "\n" not in failed.message
    assert one_line("  a \n\t b ") == "a b"


def test_reasons_without_a_text_are_still_lines() -> None:
    assert str(Failed("X")) == "failed: X"
    assert str(NodeDown()) == "node down"


def test_a_system_that_gave_up_says_why() -> None:
    error = SystemFailed(Failed("RestartIntensity", "too many"))
    assert error.reason == Failed("RestartIntensity", "too many")
    assert str(error) == "the actor system gave up: failed: RestartIntensity: too many"
