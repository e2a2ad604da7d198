"""The measurement on GPUs, as far as it can be tested without one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bench.gpu.engine import Tensors, load_fake_engine
from bench.gpu.memory import NoGpu, holders, parse_holders, used_mib
from bench.harness.results import read

from sllm_actors.testing.fake_engine import PROGRAM

from .program import ROOT, bench


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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpu", "gpu_proofs"])
def test_a_machine_without_a_gpu_gets_one_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoGpu):
        used_mib()
    done = bench("run", name)
    assert done.returncode == 1
    assert (
        done.stderr == f"Error: {name} cannot run: an NVIDIA GPU is not here: run it on a machine with one\n"
    )


@pytest.mark.slow
def test_what_is_to_be_proven_on_a_gpu_can_be_tried_on_a_played_one(tmp_path: Path) -> None:
    played, results = ROOT / "tests" / "bench" / "played_gpu", tmp_path / "results.json"
    held = tmp_path / "held"
    held.mkdir()
    played_env = {
        "PLAYED_GPU": str(held),
        "PYTHONPATH": f"{played}:{ROOT}",
        "PATH": f"{played}:{os.environ['PATH']}",
    }
    promises = ("inventory", "two_on_one_gpu", "sleep", "all_die")
    command = [sys.executable, "-m", "bench", "run", "gpu_proofs", "--json", str(results)]
    done = subprocess.run(
        command + [part for each in promises for part in ("--only", each)],
        env=os.environ | played_env,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = read(results).more["promises"]
    assert tuple(found) == promises
    assert found["inventory"]["measured_mib"] == 4096 + 2048 + 500
    assert found["two_on_one_gpu"]["used_mib"] == 2 * (4096 + 2048 + 500)
    assert found["sleep"]["1"]["asleep_mib"] == 500


class CountedMemory:
    """Counts MiB in place of a GPU's driver."""

    def __init__(self) -> None:
        self.moves: list[str] = []

    def on_gpu(self, mib: int) -> Any:
        self.moves.append(f"new {mib}")
        return mib

    def on_gpu_again(self, tensor: Any) -> Any:
        self.moves.append(f"back {tensor}")
        return tensor

    def on_machine(self, tensor: Any) -> Any:
        self.moves.append(f"away {tensor}")
        return tensor

    def let_go(self) -> None:
        self.moves.append("let go")


@pytest.mark.parametrize(
    ("level", "moves"),
    [
        (0, []),
        (1, ["away 40", "let go", "back 40", "new 20"]),
        (2, ["let go", "new 40", "new 20"]),
    ],
)
def test_the_engine_gives_its_memory_back_while_it_sleeps(level: int, moves: list[str]) -> None:
    memory = CountedMemory()
    tensors = Tensors(memory, 40, 20)
    memory.moves.clear()
    tensors.sleep(level)
    for tags in (["weights"], ["kv_cache"]) if level == 2 else ([],):
        tensors.wake(tags)
    assert memory.moves == moves
    assert (tensors.weights, tensors.cache, tensors.kept) == (40, 20, None)


def test_the_engine_is_the_fake_engine_of_the_tests_with_memory() -> None:
    module = load_fake_engine(PROGRAM)
    engine = module.Engine(module.read_options(["--socket", "/nowhere"]))
    engine.sleep(2)
    assert (engine.level, engine.has_weights) == (2, False)
    engine.wake(["weights"])
    engine.reload_weights()
    assert (engine.level, engine.has_weights) == (2, True)
    engine.wake(["kv_cache"])
    assert (engine.level, engine.has_weights) == (None, True)
