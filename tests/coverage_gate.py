"""The gate: every branch of every pure core is taken by the tests that know no network, process or disk.

Run it:  make coverage
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.test_imports import PURE_CORES

ROOT = Path(__file__).parent.parent

LEFT_OUT: dict[str, str] = {}
"""Pure cores that the gate does not look at, as ``room.module``, and why."""

TESTS = {
    "actors": [
        "backoff",
        "exits",
        "mailbox",
        "message",
        "monitors",
        "network_seam",
        "supervision",
        "supervision_backoff",
        "supervision_requests",
        "weight",
    ],
    "transport": ["codec", "control", "frame", "golden", "handshake", "link", "outbox"],
    "engines": ["identity", "order", "replica", "vllm_settings"],
    "gateway": ["access", "assemble", "holds", "inference_request", "knowledge", "routing"],
    "serving": [
        "admission",
        "deployment",
        "describe",
        "document",
        "known_nodes",
        "placement",
        "reconcile",
        "tiers",
        "waiting",
    ],
    "cli": ["lookup"],
}
"""The tests that reach them: files, by room. The long-running models are left to the whole test run."""


def main() -> int:
    cores = [
        f"src/sllm_actors/{room}/{core}.py"
        for room, names in PURE_CORES.items()
        for core in names
        if f"{room}.{core}" not in LEFT_OUT
    ]
    tests = [f"tests/{room}/test_{name}.py" for room, names in TESTS.items() for name in names]
    one_loop = ["-k", "not uvloop and not trio"]
    pytest = [
        "pytest",
        "-q",
        "--no-header",
        "-p",
        "no:randomly",
        "--hypothesis-profile=coverage",
        *one_loop,
        *tests,
    ]
    with tempfile.TemporaryDirectory() as folder:
        data = f"--data-file={folder}/coverage"
        coverage = [sys.executable, "-m", "coverage"]
        ran = subprocess.run([*coverage, "run", data, "-m", *pytest], cwd=ROOT, check=False)
        if ran.returncode != 0:
            return ran.returncode
        report = ["report", data, f"--include={','.join(cores)}", "--fail-under=100"]
        return subprocess.run([*coverage, *report], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
