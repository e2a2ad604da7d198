"""The scenarios of several hosts are nothing for the inner loop, and come to a report where one is wanted."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .bed import Bed, bed_of
from .scenario import ROW

REPORT = "SLLM_HOSTS_REPORT"
"""The environment variable that names the file of the report."""

ROUNDS = "SLLM_HOSTS_ROUNDS"
"""The environment variable that says how often each scenario is played."""

TIMEOUT = 900
"""Seconds for a test and the start of its cluster: on a busy machine, each node may take half a minute."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """Three workers, of which two have a replica; a file of tests may run another cluster."""
    with bed_of(tmp_path_factory.mktemp("hosts"), "head", "w1", "w2", "w3", "g1") as made:
        made.deploy()
        yield made


@pytest.fixture
def bed(running: Bed) -> Iterator[Bed]:
    """The same cluster for all tests of a file: whole again before each, and healed after it."""
    running.wait_whole()
    try:
        yield running
    finally:
        running.network.heal()
        for host in running.network.hosts.values():
            host.thaw()


class Report:
    """A plugin of pytest for the process that tells: writes a row for each scenario."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self._rows += [
                {**row, "passed": report.passed}
                for name, row in report.user_properties
                if name == ROW and isinstance(row, dict)
            ]

    def pytest_sessionfinish(self) -> None:
        self._path.write_text(json.dumps(self._rows, indent=2) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    if (path := os.environ.get(REPORT)) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Report(Path(path)))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    rounds = int(os.environ.get(ROUNDS) or 1)
    if rounds > 1:
        metafunc.fixturenames.append("hosts_round")
        metafunc.parametrize("hosts_round", range(rounds))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(TIMEOUT))
