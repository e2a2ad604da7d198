"""What the tests of each folder cost, told at the end of a run."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Generator

import pytest

BUSY = "processor seconds"


class Meter:
    """A plugin of pytest for each process that runs tests: notes what each phase of a test costs."""

    def __init__(self) -> None:
        self._spent = _processor_time()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        before, self._spent = self._spent, _processor_time()
        report.user_properties.append((BUSY, self._spent - before))
        return report


class Costs:
    """A plugin of pytest for the process that tells: seconds and processor time, summed over all processes.

    The processor time is that of the tests and of the children that have ended; it is the better measure on a
    machine that has other things to do.
    """

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._busy: defaultdict[str, float] = defaultdict(float)
        self._tests: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        folder = "/".join(report.nodeid.partition("::")[0].split("/")[:2])
        self._seconds[folder] += report.duration
        self._busy[folder] += sum(
            value for name, value in report.user_properties if name == BUSY and isinstance(value, float)
        )
        self._tests[folder] += report.when == "call"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if len(self._seconds) > 1:
            terminalreporter.section("what the tests of each folder cost")
            terminalreporter.write_line("\n".join(self.table()))

    def table(self) -> list[str]:
        """Return a head, a line for each folder, the most expensive first, and the sum of all."""
        lines = ["  seconds  of processor   tests  folder"]
        for folder, seconds in sorted(self._seconds.items(), key=lambda cost: -cost[1]):
            lines.append(f"{seconds:9.1f} {self._busy[folder]:13.1f} {self._tests[folder]:7}  {folder}")
        seconds, busy = sum(self._seconds.values()), sum(self._busy.values())
        return [*lines, f"{seconds:9.1f} {busy:13.1f} {self._tests.total():7}  all"]


def _processor_time() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system
