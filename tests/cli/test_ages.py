"""How long ago something was, as a person reads it."""

from __future__ import annotations

import pytest

from sllm_actors.cli.display.ages import age


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        *((-5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (119 * 60, "119m"), (7200, "2h")),
        *((47 * 3600, "47h"), (48 * 3600, "2d"), (400 * 86400, "400d")),
    ],
)
def test_an_age_is_a_number_and_a_unit(seconds: float, shown: str) -> None:
    assert age(1e9, 1e9 + seconds) == shown


def test_what_is_not_known_has_no_age() -> None:
    assert age(0.0, 1e9) is None
