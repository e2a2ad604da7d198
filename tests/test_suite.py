"""What runs the tests: its steps, the costs that it tells, and that no test leaves processes behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from tests.children import child, kill_all, left_since, running
from tests.costs import BUSY, Costs
from tests.suite import FEW, Step, StepFailed, Suite, beside_each_other

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def python(title: str, code: str) -> Step:
    return Step(title, [sys.executable, "-c", code])


def test_steps_beside_each_other_do_not_mix_what_they_say(capsys: pytest.CaptureFixture[str]) -> None:
    suite = Suite()
    suite.run(python("one", "print('a1'); print('a2')"), python("two", "print('b1'); print('b2')"))
    suite.tell()
    said = capsys.readouterr().out
    assert "a1\na2\nb1\nb2\n" in said
    assert [line.split()[-1] for line in said.splitlines()[-2:]] == ["one", "two"]


def test_a_step_that_fails_is_named_when_all_beside_it_have_ended() -> None:
    suite, other = Suite(), python("well", "print()")
    with pytest.raises(StepFailed, match=r"^bad$"):
        suite.run(python("bad", "raise SystemExit(3)"), other)
    assert other.seconds > 0


def try_tests(folder: Path, code: str) -> Suite:
    """Run tests with this code, and with no plugin but the one that gives tests a process beside ours."""
    path = folder / "test_them.py"
    path.write_text(f"import os, pathlib, pytest\nHERE = pathlib.Path({str(folder)!r})\n{code}")
    clean = ["-u", "PYTEST_XDIST_WORKER", "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1"]  # we may run beside others, too
    suite = Suite()
    command: list[str | Path] = ["env", *clean, sys.executable, "-m", "pytest", "-p", "xdist"]
    pytest = [*command, "-c", os.devnull, "--rootdir", folder, path]
    beside_each_other(suite, pytest, [], many=("-n", "1"))
    return suite


BESIDE = "os.environ.get('PYTEST_XDIST_WORKER')"


@pytest.mark.slow
def test_a_test_that_passes_alone_only_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    well = "def test_well():\n    (HERE / 'ran').open('a').write('x')\n"
    try_tests(tmp_path, f"def test_busy():\n    assert not {BESIDE}\n{well}").tell()
    warning = "warning: failed beside the others and passed alone, mend it: test_them.py::test_busy"
    assert capsys.readouterr().out.splitlines()[-1] == warning
    assert (tmp_path / "ran").read_text() == "x", "what passed is not run again"


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "def test_bad():\n    assert 0\n",
        f"@pytest.mark.parametrize('n', range({FEW + 1}))\ndef test_many(n):\n    assert not {BESIDE}\n",
        "import nothing_of_this_name\n",
        "def test_ends():\n    os._exit(3)\n",
    ],
    ids=["alone too", "too many", "no tests to be had", "its process ends"],
)
def test_what_fails_alone_too_or_in_numbers_fails_the_suite(tmp_path: Path, code: str) -> None:
    with pytest.raises(StepFailed):
        try_tests(tmp_path, code)


@pytest.fixture
def forgotten() -> Iterator[subprocess.Popen[bytes]]:
    with child(SLEEP) as process:
        yield process


def test_a_child_that_is_left_is_seen_and_can_be_ended(forgotten: subprocess.Popen[bytes]) -> None:
    before = running().keys() - {forgotten.pid}
    assert left_since(before, patience=0.0).keys() == {forgotten.pid}
    kill_all([forgotten.pid])
    assert left_since(before) == {}


def test_what_each_folder_costs_is_summed_over_phases_and_tests() -> None:
    costs = Costs()
    phases: list[tuple[str, Literal["setup", "call"], float]] = [
        ("tests/b/test_x.py::test_1", "setup", 2.0),
        ("tests/b/test_x.py::test_1", "call", 1.0),
        ("tests/a/more/test_y.py::test_2[call]", "call", 4.0),
    ]
    for path, phase, seconds in phases:
        spent = [(BUSY, seconds / 4)]
        costs.pytest_runtest_logreport(
            pytest.TestReport(
                path, (path, 1, ""), {}, "passed", None, phase, duration=seconds, user_properties=spent
            )
        )
    assert [line.split() for line in costs.table()[1:]] == [
        ["4.0", "1.0", "1", "tests/a"],
        ["3.0", "0.8", "1", "tests/b"],
        ["7.0", "1.8", "2", "all"],
    ]
