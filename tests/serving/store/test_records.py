"""What is read of kept pauses."""

from __future__ import annotations

import json

import pytest

from sllm_actors.serving.store.records import PausesRecord


def test_pauses_are_read_with_the_numbers_of_their_bins() -> None:
    assert PausesRecord("u", '{"3": 1.5, "17": 2}', 0.0, 1.0).counts == {3: 1.5, 17: 2.0}
    assert PausesRecord("u", "{}", 4.0, 1.0).counts == {}


@pytest.mark.parametrize(
    "bins",
    [
        *("{", "[]", '{"x": 1}', '{"-1": 1}', '{"1000": 1}', '{"3": -1}', '{"3": 1e999}', '{"3": NaN}'),
        json.dumps(dict.fromkeys(map(str, range(1001)), 1)),
    ],
)
def test_pauses_that_nobody_has_written_are_not_read(bins: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        PausesRecord("u", bins, 0.0, 1.0).counts  # noqa: B018 - reads it
