"""Which models go: never one that is in use, no more than needed, the least recently used first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.models.eviction import CachedModel, DiskSpace, choose_evictions

SIZES = st.integers(0, 1000)
MODELS = st.lists(
    st.builds(
        CachedModel, source=st.sampled_from("abcdefgh"), size=SIZES, last_used=st.sampled_from([0.0, 1, 2, 3])
    ),
    unique_by=lambda model: model.source,
)
ROOMS = st.builds(
    DiskSpace, free=SIZES, keep_free=st.integers(0, 300), quota=st.none() | st.integers(0, 4000)
)
IN_USE = st.sets(st.sampled_from("abcdefgh"))


def fits(models: list[CachedModel], gone: tuple[CachedModel, ...], needed: int, room: DiskSpace) -> bool:
    """Say, in the plainest way, whether it fits once these are gone."""
    freed = sum(model.size for model in gone)
    left = sum(model.size for model in models if model not in gone)
    return needed <= room.free + freed and (room.quota is None or left + needed <= room.quota)


@given(MODELS, IN_USE, SIZES, ROOMS)
def test_what_is_chosen_makes_it_fit_and_leaves_alone_what_is_in_use(
    models: list[CachedModel], in_use: set[str], needed: int, room: DiskSpace
) -> None:
    spare = tuple(model for model in models if model.source not in in_use)
    chosen = choose_evictions(models, in_use, needed, room)
    if chosen is None:
        assert not fits(models, spare, needed, room)
    else:
        assert fits(models, chosen, needed, room)
        assert not {model.source for model in chosen} & in_use


@given(MODELS, IN_USE, SIZES, ROOMS)
def test_no_more_go_than_needed_and_those_used_longest_ago_go_first(
    models: list[CachedModel], in_use: set[str], needed: int, room: DiskSpace
) -> None:
    chosen = choose_evictions(models, in_use, needed, room)
    if not chosen:
        return
    kept = [model for model in models if model not in chosen and model.source not in in_use]
    assert all(gone.last_used <= stays.last_used for gone in chosen for stays in kept)
    fewer = chosen[:-1]
    enough_free = room.free + sum(model.size for model in fewer) >= needed + room.keep_free
    assert not (fits(models, fewer, needed, room) and enough_free)


A, B, C = (CachedModel(name, 100, float(number)) for number, name in enumerate("abc"))


def test_nothing_goes_while_there_is_room() -> None:
    assert choose_evictions([A, B], (), 50, DiskSpace(free=50)) == ()
    assert choose_evictions([A, B], (), 50, DiskSpace(free=500, quota=250)) == ()


def test_the_quota_counts_everything_that_is_there() -> None:
    assert choose_evictions([A, B, C], (), 100, DiskSpace(free=5000, quota=300)) == (A,)
    assert choose_evictions([A, B, C], {"a"}, 100, DiskSpace(free=5000, quota=300)) == (B,)
    assert choose_evictions([A, B, C], {"a", "b", "c"}, 100, DiskSpace(free=5000, quota=300)) is None


def test_some_of_the_disk_is_kept_free_as_long_as_models_can_free_it() -> None:
    assert choose_evictions([A, B, C], (), 50, DiskSpace(free=60, keep_free=100)) == (A,)
    # Something else fills the disk: removing every model would not help, and it fits as it is.
    assert choose_evictions([A, B, C], (), 50, DiskSpace(free=60, keep_free=5000)) == ()


def test_nothing_goes_for_a_model_that_cannot_fit_anyway() -> None:
    assert choose_evictions([A, B, C], (), 1000, DiskSpace(free=60)) is None
