"""Names of weights in several files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.models.shards import missing_shards, shard_of


@given(st.text("ab-0123", min_size=1), st.integers(1, 40), st.data())
def test_all_names_of_a_set_tell_the_same_set(stem: str, count: int, data: st.DataObject) -> None:
    number = data.draw(st.integers(1, count))
    name = f"{stem}-{number:05}-of-{count:05}.gguf"
    shard = shard_of(name)
    assert shard is not None
    assert (shard.stem, shard.number, shard.count, shard.suffix) == (stem, number, count, ".gguf")
    assert shard.names[number - 1] == name
    assert shard.names[0] == shard.first
    assert len(shard.names) == count
    there = data.draw(st.sets(st.sampled_from(shard.names), min_size=1))
    assert missing_shards(there | {"other.gguf"}) == sorted(set(shard.names) - there)


@pytest.mark.parametrize(
    "name",
    ["", "m.gguf", "m-1-of-3.gguf", "m-00000-of-00003.gguf", "m-00004-of-00003.gguf", "-00001-of-00001.gguf"],
)
def test_other_names_are_those_of_single_files(name: str) -> None:
    assert shard_of(name) is None
    assert missing_shards([name]) == []
