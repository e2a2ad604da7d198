"""All that `make test` does: one step after the other, those that leave a core idle beside each other.

    python -m tests.suite [--quick] [--vllm wanted|required] [arguments of pytest ...]

The tests run in several processes, but those marked ``alone``: these need much of the machine and come after
the others, in two rows, one for vLLM, which computes, and one for containers, which wait. A few that fail
beside the others are run again alone, and named at the end if they pass then. What each step took is told at
the end.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Self

from attrs import define, field
from tests.order import ALONE_IN

ROOT = Path(__file__).parent.parent
PYTHON = sys.executable
BIN = Path(PYTHON).parent
ENGINES = ROOT / ".engines"

WORKERS = os.environ.get("SLLM_TEST_WORKERS") or str(2 * len(os.sched_getaffinity(0)))
"""Two for each core: at any moment about half of the tests wait for something."""

MANY = ("-n", WORKERS, "--dist", "loadfile", "--no-loadscope-reorder")
"""One file's tests stay together: they may share a cluster. ``tests.order`` says in what order files come."""

CONTAINERS = "SLLM_CONTAINERS"
"""The environment variable that tells all tests where the images of containers are."""

ALONE = ("-o", f"testpaths={' '.join(ALONE_IN)}", "-m")
"""Only the folders of such tests are read, where the arguments name none: to read all takes a while."""

QUICK = "not alone and not slow"

TESTS_FAILED = 1
"""What pytest ends with when it ran to its end and some tests failed."""

NO_TESTS = 5
"""What pytest ends with when it was to run none."""

FEW = 3
"""So many tests that failed beside the others are tried again alone.

Every test has to pass; but what several processes do to two cores may not decide it. Such a test is named,
to be mended: it waits for less than it says, or has found a race. Where more fail, something is broken, and
no second try is made.
"""


class StepFailed(Exception):
    """A step ended with an exit status that is not 0; it has said why."""


@define
class Step:
    """One command.

    Attributes:
        fine: The exit statuses with which it has gone well.
        status: The exit status, once it has ended.
    """

    title: str
    command: Sequence[str | Path]
    fine: tuple[int, ...] = (0,)
    seconds: float = field(default=0.0, init=False)
    status: int | None = field(default=None, init=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _held: IO[bytes] | None = field(default=None, init=False)
    _began: float = field(factory=time.monotonic, init=False)

    def start(self, *, hold: bool) -> Self:
        """Start it.

        Args:
            hold: Keep what it says until it has ended: others speak meanwhile.
        """
        self._held = TemporaryFile() if hold else None  # noqa: SIM115 - closed by ``end``
        command = list(map(str, self.command))
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=self._held, stderr=self._held)
        return self

    def end(self) -> bool:
        """Wait for it, show what it held back, and return whether it went well."""
        assert self._process is not None
        self.status = self._process.wait()
        self.seconds = time.monotonic() - self._began
        if self._held is not None:
            with self._held as held:
                held.seek(0)
                sys.stdout.write(held.read().decode(errors="replace"))
        return self.status in self.fine

    def stop(self) -> None:
        """End it, if it still runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()


@define
class Suite:
    """The steps that were taken, and the tests that passed in their second try only."""

    taken: list[Step] = field(factory=list)
    passed_alone: list[str] = field(factory=list)

    def run(self, *steps: Step) -> None:
        """Run steps beside each other.

        Raises:
            StepFailed: Some failed; all have ended.
        """
        for step in steps:
            say(f"==> {step.title}")
            step.start(hold=len(steps) > 1)
        self.end(*steps)

    def end(self, *steps: Step) -> None:
        """Wait for steps that were started; see ``run``."""
        self.taken += steps
        failed = [step.title for step in steps if not step.end()]
        if failed:
            raise StepFailed(", ".join(failed))

    def tell(self) -> None:
        """Say what each step took, and which tests want mending."""
        say("\n    seconds  step")
        for step in self.taken:
            say(f"{step.seconds:11.1f}  {step.title}")
        for test in self.passed_alone:
            say(f"warning: failed beside the others and passed alone, mend it: {test}")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def quick(suite: Suite, arguments: Sequence[str]) -> None:
    """Run what somebody wants to know while they work."""
    suite.run(Step("ruff check", [BIN / "ruff", "check"]))
    fewer = ["-m", QUICK, "--one-loop", "--hypothesis-profile=quick"]
    pytest: list[str | Path] = [PYTHON, "-m", "pytest", *MANY, *fewer]
    suite.run(Step("quick tests", [*pytest, *arguments]))


def check(suite: Suite) -> None:
    """Look at the code without running it.

    Tests are read meanwhile, so that the processes that run them find them compiled.
    """
    suite.run(Step("ruff check", [BIN / "ruff", "check"]))
    suite.run(Step("ruff format --check", [BIN / "ruff", "format", "--check"]))
    nothing = [PYTHON, "-m", "pytest", "-q", "-m", "alone and not alone"]
    suite.run(Step("mypy", [BIN / "mypy"]), Step("tests are read", nothing, (NO_TESTS,)))


def test(
    suite: Suite, coverage: Step, vllm: Step, images: Step, arguments: Sequence[str], *, required: bool
) -> None:
    """Run every test that this machine can run, those with a real vLLM when it is there.

    How much of the pure cores the tests run is looked at meanwhile: that has one process, which never waits.
    """
    coverage.start(hold=True)
    pytest = [PYTHON, "-m", "pytest", *arguments]
    fine = (0, NO_TESTS) if arguments else (0,)
    beside_each_other(suite, pytest, ["-m", "not alone"], fine)
    suite.end(coverage)
    try:
        suite.end(vllm)
    except StepFailed:
        if required:
            raise
        say("==> The tests with a real vLLM skip themselves")
    suite.end(images)
    suite.run(
        Step("tests with a real vLLM, alone", [*pytest, *ALONE, "alone and vllm"], fine),
        Step("tests in containers, alone", [*pytest, *ALONE, "alone and not vllm"], fine),
    )


def beside_each_other(
    suite: Suite,
    pytest: Sequence[str | Path],
    chosen: Sequence[str],
    fine: tuple[int, ...] = (0,),
    many: Sequence[str] = MANY,
) -> None:
    """Run tests in several processes, and the FEW that failed there once more, one by one.

    Raises:
        StepFailed: More than FEW failed, some failed alone too, or pytest itself failed.
    """
    with TemporaryDirectory(prefix="sllm-tests-") as cache:
        kept = ("-o", f"cache_dir={cache}")
        first = Step("tests beside each other", [*pytest, *kept, *many, *chosen], (*fine, TESTS_FAILED))
        suite.run(first)
        if first.status != TESTS_FAILED:
            return
        failed = failed_tests(Path(cache))
        if not 0 < len(failed) <= FEW:
            raise StepFailed(first.title)
        suite.run(Step("what failed beside the others, alone", [*pytest, *kept, "--last-failed", *chosen]))
        suite.passed_alone += failed


def failed_tests(cache: Path) -> list[str]:
    """Return the tests that failed in the run of pytest that kept its cache here."""
    try:
        return sorted(json.loads((cache / "v/cache/lastfailed").read_text()))
    except FileNotFoundError:
        return []


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.suite", allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="not slow, one loop, few examples")
    parser.add_argument("--vllm", choices=["wanted", "required"], default="wanted")
    chosen, arguments = parser.parse_known_args()
    suite = Suite()
    coverage = Step(
        "branch coverage of the pure cores, beside the tests", [PYTHON, "-m", "tests.coverage_gate"]
    )
    install: list[str | Path] = [BIN / "sllm", "engines", "install", "vllm", "--cpu", "--data-dir", ENGINES]
    vllm = Step("vLLM is installed for its tests, beside the steps above", install)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with TemporaryDirectory(prefix="sllm-") as folder:
        folder = os.environ.setdefault(CONTAINERS, folder)
        build: list[str | Path] = [PYTHON, "-m", "tests.containers.store", folder]
        images = Step("images of containers are built for their tests, beside the steps above", build)
        try:
            if chosen.quick:
                quick(suite, arguments)
            else:
                vllm.start(hold=True)
                images.start(hold=True)
                check(suite)
                test(suite, coverage, vllm, images, arguments, required=chosen.vllm == "required")
        except StepFailed as failed:
            say(f"error: failed: {failed}")
            return 1
        finally:
            coverage.stop()
            vllm.stop()
            images.stop()
            suite.tell()
    return 0


if __name__ == "__main__":
    sys.exit(main())
