"""How the loss of a connection before an answer is told."""

from __future__ import annotations

import pytest

from sllm_actors.gateway.path.engines.broke import broken_by
from sllm_actors.transport import NodeFull, TunnelRefused


@pytest.mark.parametrize(
    ("error", "unreached", "text", "expected"),
    [
        (None, False, "it closed the connection without an answer", (False, False)),
        (OSError("reset"), False, "it broke (reset)", (False, False)),
        (OSError(), True, "it broke (OSError)", (True, False)),
        (TunnelRefused("no such engine"), False, "no connection (no such engine)", (True, False)),
        (NodeFull("full"), False, "full", (True, True)),
    ],
)
def test_the_error_of_a_lost_connection_says_whether_the_engine_got_anything(
    error: Exception | None, unreached: bool, text: str, expected: tuple[bool, bool]
) -> None:
    broke = broken_by(error, "it broke", unreached=unreached)
    assert str(broke) == text
    assert (broke.unreached, broke.no_room) == expected
    assert (broke.final, broke.stale, broke.external) == (False, False, False)
