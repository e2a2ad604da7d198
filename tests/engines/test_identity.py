"""A replica's identity survives its trip as text, and nothing else is one."""

from __future__ import annotations

from itertools import product

import pytest
from attrs import astuple

from sllm_actors.engines.identity import ReplicaId, ReplicaKey


def test_an_identity_is_read_back_from_its_text() -> None:
    life = ReplicaKey("facebook/opt-1.3b:vllm", 3, 1).attempt(12)
    assert str(life) == "facebook/opt-1.3b:vllm@3.1.12"
    assert ReplicaId.parse(str(life)) == life
    assert life.key == ReplicaKey("facebook/opt-1.3b:vllm", 3, 1)
    assert str(life.key) == "facebook/opt-1.3b:vllm@3.1"


@pytest.mark.parametrize("text", ["", "opt:vllm", "opt:vllm@1.2", "opt:vllm@1.2.x", "opt:vllm@1.2.3.4"])
def test_what_is_no_identity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an instance id"):
        ReplicaId.parse(text)


def test_keys_are_in_the_order_of_their_attributes() -> None:
    keys = [
        ReplicaKey(*each)
        for each in product(("a:vllm", "b:vllm", "b:vllm2"), (1, 2, 10), (0, 9, 10), ("", "1", "f"))
    ]
    assert sorted(keys, key=hash) != keys
    assert sorted(sorted(keys, key=hash)) == sorted(keys, key=astuple) == keys
