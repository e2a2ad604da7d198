"""Subjects run in processes of their own, of which none is left."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest
from bench.harness.child import Child, ChildFailed, read_figures, run
from bench.harness.process_tree import TreeMeter

FIGURE = 'print(\'{"measure": "x", "value": 1}\', flush=True)'


def child(code: str, tmp_path: Path, *, timeout: float = 60.0) -> Child:
    return Child("it", [sys.executable, "-c", code], tmp_path, timeout=timeout)


def test_figures_are_the_lines_that_are_meant_as_such() -> None:
    lines = [
        "a library says hello",
        '{"measure": "x", "value": 1}',
        '{"measure": "x", "value": 2.5}',
        '{"measure": "flag", "value": true}',
        '{"measure": 3, "value": 3}',
        '{"value": 4}',
        "{not json}",
    ]
    assert read_figures(lines) == {"x": 2.5}


@pytest.mark.slow
def test_a_child_gives_its_figures_and_its_cpu(tmp_path: Path) -> None:
    busy = "import time\nwhile time.process_time() < 0.4: pass\n"
    done = run(child(busy + FIGURE, tmp_path))
    assert done.figures == {"x": 1.0}
    assert 0.1 < done.cpu_seconds < 5
    assert done.seconds > 0.1


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("raise SystemExit('no such model')", "it ended with status 1: no such model"),
        ("pass", "it printed no figure: it said nothing"),
    ],
)
def test_a_child_that_fails_says_why(tmp_path: Path, code: str, sentence: str) -> None:
    with pytest.raises(ChildFailed, match=sentence):
        run(child(code, tmp_path))


def test_a_program_that_is_not_there_is_a_failure_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ChildFailed, match="it could not be started"):
        run(Child("it", [str(tmp_path / "python")], tmp_path))


@pytest.mark.slow
def test_a_child_that_takes_too_long_is_killed_with_its_descendants(tmp_path: Path) -> None:
    code = (
        "import pathlib, subprocess, sys, time\n"
        "sleep = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "p = subprocess.Popen(sleep, start_new_session=True)\n"
        "pathlib.Path('pid').write_text(str(p.pid))\n"
        "time.sleep(600)"
    )
    began = time.monotonic()
    with pytest.raises(ChildFailed, match="it took longer than 5 s"):
        run(child(code, tmp_path, timeout=5.0))
    assert time.monotonic() - began < 300
    grandchild = int((tmp_path / "pid").read_text())
    until = time.monotonic() + 60
    while lives(grandchild) and time.monotonic() < until:
        time.sleep(0.01)
    assert not lives(grandchild)


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_cpu_of_a_process_that_has_ended_stays_counted() -> None:
    meter = TreeMeter(2**22 + 1)  # no process has this number
    meter.seconds = 1.5
    meter.look()
    assert meter.seconds == 1.5
