"""What users install: the wheel, in an environment that has nothing but what it asks for, answers a chat."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from sllm_actors import __version__

from .cluster import DEMO, Sllm

pytestmark = pytest.mark.allow_blocking

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "requirements"
README = (ROOT / "README.md").read_text()


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """Run a command, which has to succeed; return what it printed."""
    env = {"PATH": os.environ["PATH"], "HOME": str(cwd), **variables}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def in_readme(command: str) -> str:
    """Return the line of a console block of the README that begins with this command."""
    found = re.search(rf"^\$ (?:\S*/)?({re.escape(command)}\b.*)$", README, re.MULTILINE)
    assert found is not None, command
    return found[1]


def locked(lock: str) -> Iterator[str]:
    """Yield the names of the packages that a lock has for this interpreter."""
    for line in (LOCKS / lock).read_text().splitlines():
        if line[:1].isalnum():
            wanted = Requirement(line.removesuffix("\\"))
            if wanted.marker is None or wanted.marker.evaluate():
                yield wanted.name


def put(name: str, packages: Path) -> None:
    """Put a package that is installed here into another environment, without the programs that it brings.

    Its files are the very ones that were installed from the lock, whose hashes pip has checked.
    """
    installed = distribution(name)
    for file in installed.files or ():
        there = packages / file
        if ".." not in file.parts and (here := Path(str(installed.locate_file(file)))).exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            try:
                there.hardlink_to(here)
            except OSError:  # it is on another disk
                shutil.copy2(here, there)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``make dist`` has built."""
    folder = tmp_path_factory.mktemp("package") / "dist"
    run(*in_readme("make dist").split(), f"DIST={folder}", "--directory", ROOT, cwd=folder.parent)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (built,) = dist.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(dist: Path) -> Path:
    """The programs of an environment that has what the lock says, and then the wheel, as the README says."""
    environment = dist.parent / "venv"
    venv.create(environment, symlinks=True)
    (packages,) = environment.glob("lib/python3*/site-packages")
    for name in ("pip", *locked("local.txt")):
        put(name, packages)
    command = in_readme("python3 -m pip install")
    path = f"{environment / 'bin'}:{os.environ['PATH']}"
    # Whatever it asks for and does not find here would have to come from an index, and there is none.
    alone = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    run("sh", "-c", command, cwd=dist.parent, PATH=path, **alone)
    assert "No broken requirements" in run("python3", "-m", "pip", "check", cwd=dist.parent, PATH=path)
    for name in locked("demo.txt"):  # which needs nothing of what it declares
        put(name, packages)
    return environment / "bin"


def test_the_wheel_has_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    package = ROOT / "src" / "sllm_actors"
    files = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == {str(path.relative_to(package.parent)) for path in files}


def test_the_source_distribution_makes_the_same_wheel(dist: Path, wheel: Path, tmp_path: Path) -> None:
    (built,) = dist.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        archive.extractall(tmp_path, filter="data")
    source = tmp_path / f"sllm_actors-{__version__}"
    assert {"Makefile", "README.md", "docs", "requirements", "tests"} <= {
        each.name for each in source.iterdir()
    }
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=source)
    again = tmp_path / wheel.name
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(wheel.read_bytes()).digest()


def test_the_wheel_in_an_empty_environment_answers_a_chat(programs: Path, tmp_path: Path) -> None:
    sllm = [str(programs / "sllm")]
    assert run(*sllm, "--version", cwd=tmp_path) == f"sllm, version {__version__}\n"

    ports = ("--port", "0", "--cluster-port", "0", "--transport-port", "0", "--worker-port", "0")
    first = in_readme("sllm up").split()[1:]
    up = Sllm(*first, "--demo", "--data-dir", str(tmp_path / "data"), *ports, program=sllm)
    try:
        url = up.wait_for(r"OpenAI API: (http://\S+)/v1")[1]
        up.wait_for(f"{DEMO}:llamacpp: ready")
        chat = subprocess.run(
            [*sllm, *in_readme("sllm chat").split()[1:], "--max-tokens", "12"],
            input="What is gravity?\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
            env={"LLM_SERVER_URL": url, "PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        )
        assert (chat.returncode, chat.stderr) == (0, "")
        assert len(chat.stdout) > 10
        assert up.stop() == 0, up.output
    finally:
        up.kill_all()
