"""The demo model's copy for vLLM: whole or not there, made once, by a program that ends with whoever waits.

The libraries are stand-ins that only write files; the real ones are used by the tests with a real vLLM.
"""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint
from tests.children import running
from tests.engines.kit import alive, until

from sllm_actors.models.demo_model import DEMO_MODELS, DemoModel, copy_demo, demo_file
from sllm_actors.models.errors import SourceProblem

pytestmark = pytest.mark.anyio

TRANSFORMERS = """
import os, time
from pathlib import Path
class GgufConfig:
    def __init__(self, dequantize): assert dequantize
class Model:
    @classmethod
    def from_pretrained(cls, folder, gguf_file, **_):
        Path(folder, gguf_file).read_bytes()
        print("Converting", end="\\r")
        return cls()
    def save_pretrained(self, folder):
        folder.mkdir()
        (folder / "model.safetensors").write_text("weights")
        with Path(os.environ["COUNT"]).open("a") as file:
            file.write(f"{os.getpid()}\\n")
        time.sleep(float(os.environ.get("DELAY", "0")))
class Tokenizer(Model):
    def save_pretrained(self, folder):
        (folder / "tokenizer.json").write_text("{}")
AutoModelForCausalLM, AutoTokenizer = Model, Tokenizer
"""


@pytest.fixture
def libraries(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which the libraries are found."""
    top = tmp_path / "libraries"
    for name, text in {
        "torch": "bfloat16 = 0",
        "gguf": "",
        "accelerate": "",
        "transformers": TRANSFORMERS,
    }.items():
        (top / name).mkdir(parents=True)
        (top / name / "__init__.py").write_text(textwrap.dedent(text))
    return {**os.environ, "PYTHONPATH": str(top), "COUNT": str(tmp_path / "count"), "HF_TOKEN": "hf_secret"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    return file


def started(env: dict[str, str]) -> list[int]:
    count = Path(env["COUNT"])
    return [int(line) for line in count.read_text().split()] if count.exists() else []


async def test_a_copy_that_two_want_is_made_once(
    libraries: dict[str, str], model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "models" / "demo" / "files"
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(copy_demo, model, folder, sys.executable, libraries)
        await copy_demo(model, folder, sys.executable, libraries)
    assert sorted(path.name for path in folder.iterdir()) == ["model.safetensors", "tokenizer.json"]
    assert len(started(libraries)) == 1
    assert sorted(path.name for path in folder.parent.iterdir()) == [".files.lock", "files"]


async def test_a_copy_that_is_cancelled_leaves_no_process_and_is_made_anew(
    libraries: dict[str, str], model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    async with anyio.create_task_group() as group:
        group.start_soon(copy_demo, model, folder, sys.executable, {**libraries, "DELAY": "60"})
        await until(lambda: started(libraries), timeout=20)
        group.cancel_scope.cancel()
    assert not alive(started(libraries)[0])
    assert not folder.exists()
    with anyio.fail_after(60):
        await copy_demo(model, folder, sys.executable, libraries)
    assert (folder / "tokenizer.json").is_file()
    assert not (tmp_path / ".files.new").exists()


@pytest.mark.slow
async def test_a_start_that_is_cancelled_in_its_midst_leaves_no_program(
    libraries: dict[str, str], model: Path, tmp_path: Path
) -> None:
    before = running()
    for turns in range(0, 60, 3):
        async with anyio.create_task_group() as group:
            group.start_soon(copy_demo, model, tmp_path / "files", sys.executable, libraries)
            for _ in range(turns):
                await checkpoint()
            group.cancel_scope.cancel()
        assert running() == before


async def test_what_the_libraries_object_to_is_said(libraries: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(SourceProblem) as caught, anyio.fail_after(60):
        await copy_demo(tmp_path / "none.gguf", tmp_path / "files", sys.executable, libraries)
    assert str(caught.value).startswith(
        f"the demo model cannot be converted for vLLM under {sys.executable}: FileNotFoundError: "
    )
    assert not (tmp_path / "files").exists()


async def test_an_interpreter_without_the_libraries_says_which_and_what_to_do(
    model: Path, tmp_path: Path
) -> None:
    with pytest.raises(SourceProblem) as caught, anyio.fail_after(60):
        await copy_demo(model, tmp_path / "files", sys.executable, os.environ)
    assert "it has no torch" in str(caught.value)
    assert str(caught.value).endswith(": run `sllm engines install vllm` on this worker")


async def test_an_interpreter_that_is_none_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceProblem, match="under /no/python: No such file or directory"):
        await copy_demo(model, tmp_path / "files", "/no/python", os.environ)


def test_a_demo_model_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEMO_MODELS, "none", DemoModel("no_such_package", "x.gguf", "pip install it", 0))
    with pytest.raises(SourceProblem) as caught:
        demo_file("none")
    assert str(caught.value) == "the demo model none is not installed on this worker: pip install it"
    with pytest.raises(SourceProblem, match="there is no demo model 'gpt-7'; there is none, smollm2-135m"):
        demo_file("gpt-7")
