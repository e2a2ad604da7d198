"""What users install: the wheel, in an environment that has nothing but what it asks for, answers a chat."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from .cluster import DEMO, Sllm

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "requirements"
NO_INDEX = "Retrying ("
"""What pip says when its package index does not answer."""


def pip(python: Path | str, *arguments: str | Path) -> str:
    """Run pip as it is configured on this machine; return what it printed."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if NO_INDEX in done.stdout + done.stderr:
        pytest.skip("the package index does not answer")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip(sys.executable, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    (built,) = folder.glob("sllm_actors-*.whl")
    return built


def test_the_wheel_has_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    package = ROOT / "src" / "sllm_actors"
    files = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == {str(path.relative_to(package.parent)) for path in files}


def test_a_wheel_in_an_empty_environment_answers_a_chat(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / "bin"
    python = programs / "python"
    pip(python, "install", "--no-compile", "--require-hashes", "-r", LOCKS / "local.txt")
    pip(python, "install", "--no-deps", "--no-index", wheel)
    assert "No broken requirements" in pip(python, "check")  # what it declares is what was locked
    pip(python, "install", "--require-hashes", "--no-deps", "-r", LOCKS / "demo.txt")

    ports = ("--port", "0", "--cluster-port", "0", "--transport-port", "0", "--worker-port", "0")
    sllm = Sllm(
        "up", "--demo", "--data-dir", str(tmp_path / "data"), *ports, program=[str(programs / "sllm")]
    )
    try:
        url = sllm.wait_for(r"OpenAI API: (http://\S+)/v1")[1]
        sllm.wait_for(f"{DEMO}:llamacpp: ready")
        chat = subprocess.run(
            [programs / "sllm", "chat", DEMO, "--max-tokens", "12"],
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
        assert sllm.stop() == 0, sllm.output
    finally:
        sllm.kill_all()
