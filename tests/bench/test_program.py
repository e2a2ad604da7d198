"""``python -m bench`` finds what it is asked for, or says in one sentence what there is."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from bench.__main__ import main
from bench.harness.experiment import Experiment
from bench.harness.machine import described
from bench.harness.measures import rate
from bench.harness.results import read
from bench.registry import BENCHMARKS, RESULTS, Need
from click.testing import CliRunner

from .program import ROOT, bench


def test_every_row_names_a_command_and_asks_a_question() -> None:
    for name, row in BENCHMARKS.items():
        assert row.name == name
        assert row.question.endswith("?")
        if not row.module:
            assert row.missing, f"{name} says why it cannot run"
            continue
        assert importlib.import_module(row.module).main is row.command()
        assert callable(row.tables())
    assert sum(row.short for row in BENCHMARKS.values()) <= 40


@pytest.mark.slow
def test_the_list_names_every_benchmark() -> None:
    done = bench("list")
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in BENCHMARKS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("run", "nothing"), "Error: there is no benchmark 'nothing': there are all, actors, gateway"),
        (("show", "gone.json"), "Error: gone.json cannot be read: No such file or directory"),
        (("compare", "gone.json", "gone.json"), "Error: gone.json cannot be read: No such file or directory"),
        (("show", "pyproject.toml"), "Error: pyproject.toml is not JSON: "),
        (
            ("show", "bench/results/gpu_proofs.json", "--plot", "x"),
            "Error: results of gpu_proofs have no plot",
        ),
    ],
)
def test_what_is_not_there_gets_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    done = bench(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1


def test_a_plot_that_cannot_be_drawn_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    shown = CliRunner().invoke(main, ["show", str(RESULTS / "gateway.json"), "--plot", "x.svg"])
    assert shown.exit_code == 1
    assert "matplotlib, which draws plots, is not installed" in shown.output


@pytest.mark.slow
def test_the_options_of_one_benchmark_are_shown_with_its_name() -> None:
    done = bench("run", "from_zero_llamacpp", "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage: python -m bench run from_zero_llamacpp [OPTIONS]" in done.stdout


def test_a_need_that_is_not_met_is_told_with_its_remedy() -> None:
    row = BENCHMARKS["actors"]
    assert row.missing is None
    lacking = Need("the moon", "fly there", lambda: False)
    assert type(row)("x", "?", 1, "m", needs=(lacking,)).missing == "the moon is not here: fly there"


def test_an_interrupted_run_keeps_what_it_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = Experiment("actors", (), ("--rounds", "3"), tmp_path / "r.json")
    rounds = iter([1.0, 2.0])

    def once(_: str) -> dict[str, float]:
        try:
            return {"asks": next(rounds)}
        except StopIteration:
            raise KeyboardInterrupt from None

    handler = signal.getsignal(signal.SIGTERM)
    try:
        with experiment.measuring():
            experiment.collect(["us"], 3, once, expected=ValueError)
    finally:
        signal.signal(signal.SIGTERM, handler)
    with pytest.raises(SystemExit) as ended:
        experiment.finish(experiment.results({"asks": rate("asks", "asks")}, ours=["us"]))
    assert ended.value.code == 130
    kept = read(tmp_path / "r.json")
    assert kept.subjects["us"].figures["asks"].values == (1.0, 2.0)
    assert kept.conditions["interrupted"] is True
    assert kept.conditions["command"] == "python -m bench run actors --rounds 3"
    said = capsys.readouterr().err
    assert "interrupted: these are the results so far" in said
    assert f"compared: us\non: {described(kept.machine)}\nagain: {kept.conditions['command']}\n" in said


@pytest.mark.slow
def test_a_machine_that_does_other_work_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    with ExitStack() as stack:
        for _ in range(len(os.sched_getaffinity(0))):
            spinning = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(spinning.kill)
        try:
            with Experiment("actors", (), (), None).measuring():
                pass
        finally:
            signal.signal(signal.SIGTERM, handler)
    assert "warning: the machine does other work (" in capsys.readouterr().err


@pytest.mark.slow
def test_a_program_that_gets_ctrl_c_writes_its_results(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    command = [sys.executable, "-m", "bench", "run", "gateway", "--systems", "direct", "--only", "plain"]
    with subprocess.Popen(
        [*command, "--rounds", "1", "--seconds", "30", "--connections", "1", "--json", str(file)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None
        assert any("round 1" in line for line in running.stderr)
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
    assert read(file).conditions["interrupted"] is True


def test_results_tell_what_was_needed_and_could_not_be_measured(tmp_path: Path) -> None:
    experiment = Experiment("actors", (), (), None)
    experiment.collected.fail("us", "it broke")
    with pytest.raises(SystemExit) as ended:
        experiment.finish(experiment.results({}), needed=["us"])
    assert ended.value.code == 1
    experiment.finish(experiment.results({}), needed=["them"])
