"""What the tests of each folder cost, told at the end of a run."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest


class Costs:
    """A plugin of pytest. Seconds are summed over all processes that tests run in."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._tests: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        folder = "/".join(report.nodeid.partition("::")[0].split("/")[:2])
        self._seconds[folder] += report.duration
        self._tests[folder] += report.when == "call"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if len(self._seconds) < 2:
            return
        terminalreporter.section("seconds of each folder's tests, and their number")
        for folder, seconds in sorted(self._seconds.items(), key=lambda cost: -cost[1]):
            terminalreporter.write_line(f"{seconds:9.1f} {self._tests[folder]:6}  {folder}")
