"""How long a request wishes its model to stay loaded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.api_error import ApiError
from sllm_actors.gateway.bodies.keep_alive import ALWAYS, seconds_of

UNITS = {"h": 3600, "m": 60, "s": 1}


@pytest.mark.parametrize(
    ("wish", "seconds"),
    [
        (None, None),
        (0, 0),
        (300, 300),
        (2.5, 2.5),
        (-1, ALWAYS),
        (-0.5, ALWAYS),
        ("0", 0),
        ("300", 300),
        ("-1", ALWAYS),
        ("+4", 4),
        ("5m", 300),
        (" 5m ", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("1.s", 1),
        ("-1s", ALWAYS),
        ("+1m", 60),
        ("1500ms", 1.5),
        ("24h0m0s", 86400),
        ("2us", 2e-6),
        ("2\u00b5s", 2e-6),
        ("2\u03bcs", 2e-6),
        ("3ns", 3e-9),
    ],
)
def test_a_wish_is_read_as_ollamas_clients_write_it(wish: float | str | None, seconds: float | None) -> None:
    assert seconds_of(wish) == (seconds if seconds is None else pytest.approx(seconds))


@given(st.lists(st.tuples(st.integers(0, 999), st.sampled_from(sorted(UNITS))), min_size=1, max_size=4))
def test_the_parts_of_a_duration_are_added_up(parts: list[tuple[int, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert seconds_of(text) == sum(number * UNITS[unit] for number, unit in parts)


@pytest.mark.parametrize(
    "wish",
    ["", "m", "5 m", "5m 3", "five", "5d", "5M", "--5", "1e3", "inf", "nan", "5m-3s", ".", "٣", "1s" * 99],
)
def test_another_text_is_refused_in_one_sentence_with_what_would_do(wish: str) -> None:
    with pytest.raises(ApiError, match=r'number of seconds .* or a duration like "5m"') as caught:
        seconds_of(wish)
    assert (caught.value.status, caught.value.code, caught.value.param) == (
        400,
        "invalid_request",
        "keep_alive",
    )
