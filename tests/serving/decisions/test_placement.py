"""Where a replica answers first: downloads, starts, and those that are under way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.serving.decisions.placement import UNKNOWN_DOWNLOAD, PossiblePlace, choose

GB = 10**9


def test_nobody_is_chosen_of_none() -> None:
    assert choose([]) is None


def test_of_equals_the_first_one_is_chosen_and_small_differences_are_none() -> None:
    assert choose([PossiblePlace("a", start=30.0), PossiblePlace("b", start=30.0)]) == "a"
    assert choose([PossiblePlace("a", start=35.0), PossiblePlace("b", start=28.0)]) == "a"
    assert choose([PossiblePlace("a", start=0.9), PossiblePlace("b", start=0.1)]) == "a"


def test_the_worker_that_has_the_model_is_chosen_unless_it_is_busy_for_longer_than_a_download_takes() -> None:
    far = PossiblePlace("far", start=10.0, download=4 * GB)
    near = PossiblePlace("near", start=10.0)
    assert far.seconds == 50.0
    assert choose([far, near]) == "near"
    assert choose([far, PossiblePlace("near", start=10.0, queued=300.0)]) == "far"
    assert PossiblePlace("far", download=None).seconds == UNKNOWN_DOWNLOAD


def test_a_worker_that_starts_engines_faster_is_chosen() -> None:
    assert choose([PossiblePlace("slow", start=60.0), PossiblePlace("fast", start=6.0)]) == "fast"


def test_replicas_of_a_deployment_are_spread_before_anything_else() -> None:
    assert choose([PossiblePlace("a", same=1), PossiblePlace("b", same=0, start=600.0)]) == "b"


seconds = st.floats(0, 1000)
candidates = st.lists(
    st.builds(
        PossiblePlace,
        st.sampled_from("abcdef"),
        st.integers(0, 2),
        seconds,
        st.none() | st.integers(0, 50 * GB),
        seconds,
    ),
    max_size=6,
)


@given(candidates)
def test_none_that_is_chosen_is_three_times_as_late_as_another_with_as_few_of_the_same(
    some: list[PossiblePlace],
) -> None:
    node = choose(some)
    assert (node is None) == (not some)
    assert choose(some) == node
    for other in some:
        fit = [each for each in some if each.node == node]
        assert any(
            each.same < other.same
            or (each.same == other.same and each.seconds <= 3 * max(1.0, other.seconds))
            for each in fit
        )
