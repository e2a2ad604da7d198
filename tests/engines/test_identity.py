"""A replica's identity survives its trip as text, and nothing else is one."""

from __future__ import annotations

import pytest

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
