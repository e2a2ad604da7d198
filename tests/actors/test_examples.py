"""The examples run as they stand, those of the guide too, and say what they promise."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("example", "lines"),
    [
        ("ping_pong.py", ["ping: 5 to go", "pong: 0 to go", "game over: a player is down (normal)"]),
        (
            "supervised_counter.py",
            ["counter: started at 0", "total: 40", "refused: ValueError", "started at 40", "total: 42"],
        ),
        (
            "two_nodes.py",
            ["hello you, from right", "hello again, from right", "the greeter is down (shutdown)"],
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


@pytest.mark.slow
@pytest.mark.parametrize("word", ["Greet", "SimNet"])
def test_a_program_in_the_guide_runs(word: str) -> None:
    programs = re.findall(r"```python\n(import .*?)```", (ROOT / "docs" / "actors.md").read_text(), re.DOTALL)
    (program,) = [each for each in programs if word in each]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
