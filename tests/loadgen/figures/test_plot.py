"""Plots of text."""

from __future__ import annotations

from sllm_actors.loadgen.figures.plot import bars


def test_the_highest_value_has_the_highest_bar() -> None:
    assert bars([1, 2, 4, 8], 10) == "▂▃▅█"
    assert bars([5.0, 0.0, 5.0], 10) == "█ █"


def test_only_the_last_values_have_room() -> None:
    assert bars([100, 1, 2], 2) == "▅█"
    assert bars([1, 2], 0) == ""


def test_nothing_is_blank() -> None:
    assert bars([0.0, 0.0], 5) == "  "
    assert bars([], 5) == ""
