"""The examples run as they stand, and say what they promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("example", "lines"),
    [
        ("ping_pong.py", ["ping: 5 to go", "pong: 0 to go", "game over: a player is down (normal)"]),
        (
            "supervised_counter.py",
            ["counter: started at 0", "total: 40", "refused: ValueError", "started at 40", "total: 42"],
        ),
    ],
)
def test_an_example_runs(example: str, lines: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / example)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    position = 0
    for line in lines:
        position = done.stdout.index(line, position)
