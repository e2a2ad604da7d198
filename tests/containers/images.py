"""The images that the tests run: built by podman from the repository's Dockerfile, on a Debian made here."""

from __future__ import annotations

import ast
import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import sllm_actors

from .podman import NoContainers, Podman

ROOT = Path(__file__).parents[2]

BASE = "docker.io/library/python:3.12-slim-bookworm"
"""The base image of the Dockerfile. Nothing is pulled: a Debian with its own Python takes the name."""

WHERE = ("index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "cert", "proxy", "timeout")
"""What of pip's configuration says where packages are."""

SOURCES = (".dockerignore", "LICENSE", "README.md", "docker", "pyproject.toml", "requirements", "src")
"""What images are built from."""

PACKAGES = "python3,python3-venv,python3-pip"


def make_base(podman: Podman) -> None:
    """Make the base image, unless it is there.

    Raises:
        NoContainers: Debian's packages are not to be had here, or no container runs with them.
    """
    if podman.run("podman", "image", "exists", BASE, check=False).returncode == 0:
        return
    folder = podman.folder / "debian"
    folder.mkdir(exist_ok=True)
    podman.run("mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", folder)  # dpkg waits for disks a lot
    _try(podman, "debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", folder)
    without = "--exclude=./var/lib/apt/lists/* --exclude=./var/cache/apt/*"
    _try(podman, "sh", "-c", f"tar -C {folder} {without} -c . | podman import - {BASE}")
    podman.run("umount", folder)
    folder.rmdir()
    _try(podman, "podman", "run", "--rm", "--network=none", BASE, "true")


def _try(podman: Podman, *command: str | Path) -> None:
    """Run a command that does not succeed on every machine."""
    done = podman.run(*command, check=False, timeout=1500)
    if done.returncode:
        last = (done.stdout + done.stderr).strip().splitlines()[-1:]
        raise NoContainers(f"{' '.join(map(str, command))} ended with {done.returncode}: {''.join(last)}")


def build(podman: Podman, target: str, tag: str, *, source: Path = ROOT, **arguments: str) -> None:
    """Build a target of the Dockerfile, from a copy of the repository that may be another one."""
    pip = podman.folder / "pip.conf"
    folders = sorted(write_pip_configuration(pip))
    podman(
        "build",
        "--format=docker",
        "--isolation=chroot",
        "--network=host",
        f"--file={source / 'docker' / 'Dockerfile'}",
        f"--target={target}",
        f"--tag={tag}",
        f"--secret=id=pip,src={pip}",
        *(f"--volume={each}:{each}:ro" for each in folders),
        *(f"--build-arg={name}={value}" for name, value in arguments.items()),
        source,
        timeout=1500,
    )
    pip.unlink()


def copy_source(folder: Path, version: str) -> None:
    """Copy what images are built from into a folder that is made, as another version."""
    folder.mkdir()
    for name in SOURCES:
        there = ROOT / name
        if there.is_dir():
            shutil.copytree(there, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(there, folder / name)
    for name in ("pyproject.toml", "src/sllm_actors/__init__.py"):
        text = (folder / name).read_text()
        assert f'"{sllm_actors.__version__}"' in text
        (folder / name).write_text(text.replace(f'"{sllm_actors.__version__}"', f'"{version}"', 1))


def write_pip_configuration(path: Path) -> set[Path]:
    """Write down where pip finds packages on this machine; return the local folders that this names."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    known: dict[str, str] = {}
    for line in sorted(listed, key=lambda line: line.startswith(":env:")):  # the environment wins
        name, _, value = line.partition("=")
        section, _, option = name.rpartition(".")
        if section in ("global", "install", ":env:") and option in WHERE:
            known[option] = str(ast.literal_eval(value))
    configuration = configparser.RawConfigParser()
    configuration["global"] = known
    path.touch(0o600)
    with path.open("w") as file:
        configuration.write(file)
    places = [Path(word.removeprefix("file://")) for text in known.values() for word in text.split()]
    # The files of an index lie beside its folder.
    return {
        place.parent if place.is_file() or place.name == "simple" else place
        for place in places
        if place.is_absolute() and place.exists()
    }


def size(podman: Podman, image: str) -> int:
    """Return how many bytes an image adds to its base."""
    return int(podman.inspect(image)["Size"]) - int(podman.inspect(BASE)["Size"])
