"""Plays ``docker run``, ``exec``, ``logs``, ``stop`` and ``rm`` where no container can be made.

The image is the one of this repository: what it runs is ``docker/entrypoint.sh`` with the variables that are
given, in the network of the host. A volume is another name for a folder: where a variable names a path in it,
it gets the path of the host.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTAINERS = Path("/tmp/containers")
STOP_SECONDS = 10.0
"""What ``docker stop`` gives, unless it is told otherwise."""


def run(*arguments: str) -> None:
    parser = argparse.ArgumentParser("docker run", allow_abbrev=False)
    parser.add_argument("-d", "--detach", action="store_true", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--network", choices=["host"], required=True)
    parser.add_argument("--gpus")
    parser.add_argument("-e", "--env", action="append", default=[])
    parser.add_argument("-v", "--volume", action="append", default=[])
    parser.add_argument("image")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args(arguments)
    folder = CONTAINERS / given.name
    data = folder / "data"
    data.mkdir(parents=True)  # it fails where there is a container of this name, as docker does
    volumes = [volume.split(":")[:2] for volume in given.volume]
    for outside, _ in volumes:
        assert Path(outside).is_dir(), f"there is no folder {outside}"
    variables = {"SLLM_DATA_DIR": str(data), "HOME": str(folder), "PATH": os.environ["PATH"]}
    for each in given.env:
        name, equals, value = each.partition("=")
        value = value if equals else os.environ[name]
        for outside, inside in volumes:
            if value == inside or value.startswith(f"{inside}/"):
                value = outside + value.removeprefix(inside)
        variables[name] = value
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            ["sh", ROOT / "docker" / "entrypoint.sh", *given.command],
            env=variables | {"PYTHONUNBUFFERED": "1"},
            cwd=data,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    (folder / "pid").write_text(str(process.pid))
    print(given.name)  # noqa: T201 - as docker prints the id


def execute(name: str, *command: str) -> None:
    data = CONTAINERS / name / "data"
    os.chdir(data)
    os.execvpe(command[0], command, {**os.environ, "SLLM_DATA_DIR": str(data)})  # noqa: S606


def logs(name: str) -> None:
    sys.stdout.write((CONTAINERS / name / "log").read_text())


def stop(*names: str) -> None:
    for name in names:
        process = int((CONTAINERS / name / "pid").read_text())
        os.kill(process, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while runs(process):
            if time.monotonic() > deadline:
                os.killpg(process, signal.SIGKILL)
            time.sleep(0.05)
        print(name)  # noqa: T201


def remove(*names: str) -> None:
    for name in names:
        process = int((CONTAINERS / name / "pid").read_text())
        assert not runs(process), f"{name} is running: stop it first"
        shutil.rmtree(CONTAINERS / name)
        print(name)  # noqa: T201


def runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


VERBS: dict[str, Callable[..., None]] = {
    "run": run,
    "exec": execute,
    "logs": logs,
    "stop": stop,
    "rm": remove,
}


if __name__ == "__main__":
    VERBS[sys.argv[1]](*sys.argv[2:])
