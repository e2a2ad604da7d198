"""The proofs from outside: what is said of a program's output, and that each is described."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from bench.proofs.__main__ import PROOFS, main, run

ROOT = Path(__file__).parent.parent.parent


def test_each_proof_is_described() -> None:
    described = (ROOT / "docs/benchmarks.md").read_text()
    for proof in PROOFS:
        assert f"`{proof.__name__}`" in described
        assert proof.__doc__


def test_what_matters_of_an_output_is_shown_or_its_last_line() -> None:
    say = [sys.executable, "-c", "print('one'); print(' two '); print('three')"]
    assert run(say, "two", "one") == ["one", "two"]
    assert run(say) == ["three"]


def test_a_program_that_fails_is_told_of_with_what_it_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        run([sys.executable, "-c", "print('why'); raise SystemExit(3)"])
    assert "why" in capsys.readouterr().err


def test_a_name_that_no_proof_has_is_refused() -> None:
    with pytest.raises(SystemExit, match="there is no proof 'nothing'"):
        main(["nothing"])
