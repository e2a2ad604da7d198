"""Sizes as people read and write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.models.byte_size import parse_bytes, shown_bytes


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (269_060_552, "269 MB"),
        (999_600_000, "1.0 GB"),
        (3_400_000_000, "3.4 GB"),
        (5 * 10**18, "5000.0 PB"),
    ],
)
def test_a_size_is_shown_in_decimal_units(size: int, shown: str) -> None:
    assert shown_bytes(size) == shown


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("200GB", 200 * 10**9),
        ("1.5 tb", 1_500_000_000_000),
        ("64GiB", 64 << 30),
        ("12", 12),
        ("3k", 3000),
        ("1 B", 1),
    ],
)
def test_a_size_is_read_in_either_kind_of_unit(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1,5GB", "10 apples", "1GB2"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size: write one like 200GB"):
        parse_bytes(text)


def test_a_number_that_is_no_size_of_anything_is_refused() -> None:
    with pytest.raises(ValueError, match="'999999999999'… is more bytes than any disk or memory has"):
        parse_bytes("9" * 400 + "GB")


@given(st.integers(0, 10**17))
def test_what_is_shown_is_near_the_size_that_is_read(size: int) -> None:
    assert abs(parse_bytes(shown_bytes(size)) - size) <= size * 0.05 + 1
