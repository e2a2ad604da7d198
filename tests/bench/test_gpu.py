"""The measurement on GPUs, as far as it can be tested without one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from bench.gpu.memory import NoGpu, holders, parse_holders, used_mib

ROOT = Path(__file__).parents[2]


def test_who_holds_gpu_memory_is_read() -> None:
    assert parse_holders([]) == {}
    assert parse_holders(["12, 500", "7, 30", "12, 20", "9, [N/A]"]) == {12: 520, 7: 30, 9: 0}


def test_the_tool_of_the_driver_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\ncase "$1" in *pid*) echo "41, 1000" ;; *) echo 600; echo 424 ;; esac\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert used_mib() == 1024
    assert holders() == {41: 1000}


def test_a_machine_without_a_gpu_gets_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoGpu):
        used_mib()
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "gpu" / "measure.py"), "--python", sys.executable],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "Error: this measures GPUs, and nvidia-smi finds none here\n"
