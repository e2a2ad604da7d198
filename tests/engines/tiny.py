"""An engine so small that a fork server of it is ready at once."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from sllm_actors.engines.environment import engine_environment
from sllm_actors.engines.plan import EnginePaths, LaunchPlan
from sllm_actors.engines.warm.fork_client import ForkServerSpec

from .kit import hash_of, until

ENGINE = """
import gc, json, os, signal, subprocess, sys, tempfile, time
import multiprocessing
import looks

FIRST = os.getpid()
tempfile.gettempdir()  # which remembers it

def child():
    time.sleep(3600)

def main():
    import colorsys  # late
    folder = sys.argv[1]
    links = [os.readlink("/proc/self/fd/" + n) for n in os.listdir("/proc/self/fd")
             if os.path.exists("/proc/self/fd/" + n)]
    print("argv", sys.argv[1:], flush=True)
    if "look" in sys.argv:
        done = subprocess.run([sys.executable, "-m", "looks"], input=b"at it", capture_output=True)
        assert done.args == [sys.executable, "-m", "looks"]
        print("looked", done.returncode, done.stdout.decode(), done.stderr.decode(), flush=True)
        shown = subprocess.run([sys.executable, "-m", "looks"], input=b"", stdout=subprocess.PIPE)
        print("as a program", shown.stdout.decode(), flush=True)
    if "exit" in sys.argv:
        sys.exit(int(sys.argv[-1]))
    if "fail" in sys.argv:
        raise RuntimeError("no such weights")
    worker = multiprocessing.get_context("spawn").Process(target=child, daemon=True)
    worker.start()
    with open(folder + "/facts.json.new", "w") as file:
        json.dump({
            "worker": worker.pid, "first": FIRST, "cwd": os.getcwd(), "sid": os.getsid(0),
            "env": {k: os.environ.get(k) for k in ("TMPDIR", "SLLM_ENGINE", "LATE")},
            "warm": "numbers" in sys.modules, "late": "colorsys" in sys.modules,
            "threads": sys.modules["torch"].threads if "torch" in sys.modules else None,
            "links": links, "temporary": tempfile.gettempdir(), "collects": gc.isenabled(),
        }, file)
    os.rename(folder + "/facts.json.new", folder + "/facts.json")
    time.sleep(3600)

if __name__ == "__main__":
    main()
"""


LOOKS = """
import atexit, os, sys

if __name__ == "__main__":
    atexit.register(print, "at its end")
    how = "forked" if "tiny_engine" in sys.modules else "started"
    print(how, sys.stdin.buffer.read().decode(), sys.argv[1:])
    sys.stderr.write("nothing found")
    sys.exit(3)
"""

TORCH = """
import os

threads = int(os.environ.get("OMP_NUM_THREADS", "0"))

def set_num_threads(count):
    global threads
    threads = count

class cuda:
    is_initialized = staticmethod(lambda: False)
"""


def make_modules(folder: Path) -> Path:
    """Write it, and modules with which no server can be had; return where they are."""
    home = folder / "modules"
    home.mkdir()
    (home / "tiny_engine.py").write_text(ENGINE)
    (home / "starts_a_thread.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(3600,), daemon=True).start()\n"
    )
    (home / "takes_for_ever.py").write_text(
        f"import time, pathlib\npathlib.Path({str(home / 'begun')!r}).touch()\ntime.sleep(3600)\n"
    )
    (home / "torch.py").write_text(TORCH)
    (home / "looks.py").write_text(LOOKS)
    return home


def paths_in(folder: Path, name: str = "a") -> EnginePaths:
    socket = folder / f"{name}-{hash_of(folder)}.sock"  # it marks processes: no other folder has this name
    return EnginePaths(socket, folder / f"{name}.tmp", folder / "log")


def plan_in(folder: Path, modules: Path, *arguments: str, name: str = "a", **more: str) -> LaunchPlan:
    paths = paths_in(folder, name)
    env = engine_environment(os.environ, paths, PYTHONPATH=str(modules), **more)
    return LaunchPlan((sys.executable, "-m", "tiny_engine", str(folder), *arguments), env, paths)


def spec_for(plan: LaunchPlan, *names: str) -> ForkServerSpec:
    return ForkServerSpec("tiny", sys.executable, ("tiny_engine", *names), plan.env, late=frozenset({"LATE"}))


async def facts_of(folder: Path) -> dict[str, object]:
    await until(lambda: (folder / "facts.json").exists())
    facts: dict[str, object] = json.loads((folder / "facts.json").read_text())
    return facts
