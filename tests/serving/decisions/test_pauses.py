"""For how long an idle replica is kept, by the pauses so far."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.serving.decisions.pauses import BIN, BINS, FEWEST, GRACE, HALVED, Pauses, Stay


def learned(*pauses: float, each: int = 1) -> Pauses:
    found = Pauses()
    for pause in pauses:
        for _ in range(each):
            found.add(pause, 0.0)
    return found


def test_a_replica_is_kept_for_as_long_as_nearly_all_pauses_lasted() -> None:
    pauses = learned(30.0, each=98)
    pauses.add(10 * BIN, 0.0)
    pauses.add(200 * BIN, 0.0)
    assert pauses.stay(-1, 10.0) == Stay(11 * BIN * 1.1)
    assert pauses.stay(300.0, 10.0) == Stay(300.0), "never longer than it may be"


def test_while_too_little_is_known_it_is_kept_as_long_as_it_may_be() -> None:
    assert learned(90.0, each=FEWEST - 1).stay(600.0, 10.0) == Stay(600.0)
    assert learned(90.0, BIN * BINS, BIN * BINS, each=FEWEST).stay(600.0, 10.0) == Stay(600.0)
    flat = learned(*(index * BIN for index in range(BINS)))
    assert flat.stay(600.0, 10.0) == Stay(600.0), "any pause is as probable"


def test_where_all_pauses_are_long_it_goes_and_comes_back_in_time() -> None:
    hourly = learned(60.5 * BIN, each=20)
    back = (60 * BIN * 0.9 - 100.0, 61 * BIN * 1.1)
    assert hourly.stay(-1, 100.0) == Stay(GRACE, back)
    assert hourly.stay(-1, 0.0) == Stay(back[1]), "it is not known how long a start takes"
    assert hourly.stay(7200.0, 100.0) == Stay(GRACE, back)
    assert hourly.stay(600.0, 100.0) == Stay(GRACE), "it may not be there for so long"
    assert hourly.stay(30.0, 100.0) == Stay(30.0)


def test_older_pauses_count_for_less_each_day() -> None:
    pauses = learned(100 * BIN, BINS * BIN, each=40)
    for _ in range(20):
        pauses.add(30.0, 10 * HALVED)
    assert pauses.stay(-1, 0.0) == Stay(BIN * 1.1)
    assert pauses.longer < 1
    pauses.add(30.0, 100 * HALVED)
    assert list(pauses.bins) == [0]


@given(
    st.lists(st.floats(0.0, 20_000.0), max_size=60),
    st.just(-1.0) | st.floats(0.0, 50_000.0),
    st.floats(0.0, 700.0),
)
def test_it_is_never_kept_longer_than_it_may_be(pauses: list[float], longest: float, starts: float) -> None:
    stay = learned(*pauses).stay(longest, starts)
    if longest >= 0:
        assert 0 <= stay.keep <= max(longest, 0)
    if stay.back is not None:
        assert stay.keep <= stay.back[0] < stay.back[1]
        assert longest < 0 or stay.back[1] <= longest
