"""How the launcher tells of a node's end."""

from __future__ import annotations

import pytest

from sllm_actors.nodes.launcher.launcher import describe_status


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exit code 0"),
        (1, "exit code 1"),
        (-9, "signal SIGKILL"),
        (-15, "signal SIGTERM"),
        (-99, "signal 99"),
    ],
)
def test_an_exit_status_is_said_in_words(status: int, words: str) -> None:
    assert describe_status(status) == words
