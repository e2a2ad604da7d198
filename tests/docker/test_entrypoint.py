"""What the images' entrypoint runs, for each MODE and its variables: here, sllm prints its arguments."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ENTRYPOINT = Path(__file__).parents[2] / "docker" / "entrypoint.sh"
EVERY_ORIGIN = "*"


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """The environment of a container, with an sllm that says what it was given, one argument a line."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sllm", "health.py"):
        program = programs / name
        program.write_text('#!/bin/sh\necho "${0##*/}"\nfor each; do echo "$each"; done\n')
        program.chmod(0o755)
    data = tmp_path / "data"
    data.mkdir()
    return {"PATH": f"{programs}:{os.environ['PATH']}", "SLLM_DATA_DIR": str(data)}


def run(variables: dict[str, str], *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", ENTRYPOINT, *arguments],
        env=variables | more,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def command(variables: dict[str, str], *arguments: str, **more: str) -> list[str]:
    done = run(variables, *arguments, **more)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


LISTENING = ["--host", "0.0.0.0", "--port", "8343"]


def test_a_head_listens_on_every_address(variables: dict[str, str]) -> None:
    assert command(variables, MODE="HEAD") == ["sllm", "head", *LISTENING]
    where = {"HEAD_HOST": "10.0.0.1", "HEAD_PORT": "80"}
    assert command(variables, MODE="HEAD", **where) == ["sllm", "head", "--host", "10.0.0.1", "--port", "80"]


@pytest.mark.parametrize(
    "mode",
    [
        {"MODE": "HEAD", "PYLET_ENDPOINT": "http://10.0.0.1:8000"},
        {"MODE": "HEAD", "PYLET_ENDPOINT": "http://10.0.0.1:8000/"},
        {"MODE": "GATEWAY", "PYLET_ENDPOINT": "10.0.0.1:8000"},
        {"MODE": "GATEWAY", "PYLET_HEAD": "10.0.0.1:8000"},
    ],
)
def test_it_is_a_gateway_of_a_head_that_is_elsewhere(variables: dict[str, str], mode: dict[str, str]) -> None:
    assert command(variables, **mode) == ["sllm", "gateway", "--head", "10.0.0.1:8000", *LISTENING]


@pytest.mark.parametrize("mode", ["WORKER", "PYLET_WORKER"])
def test_a_worker_has_the_gpus_that_it_is_told(variables: dict[str, str], mode: str) -> None:
    head = ["sllm", "worker", "--head", "[fd00::1]:8000"]
    assert command(variables, MODE=mode, PYLET_HEAD="[fd00::1]:8000") == [*head, "--gpus", "auto"]
    told = {"PYLET_HEAD": "http://[fd00::1]:8000", "GPU_UNITS": "2"}
    assert command(variables, MODE=mode, **told) == [*head, "--gpus", "2"]


def test_options_of_the_container_come_last(variables: dict[str, str]) -> None:
    name = ("--name", "a machine with 'quotes' and $signs")
    told = {"MODE": "WORKER", "PYLET_HEAD": "h:8000", "NODE_IP": "10.0.0.2"}
    assert command(variables, *name, **told)[-4:] == ["--advertise", "10.0.0.2", *name]


def test_origins_are_taken_one_by_one_and_are_no_patterns(variables: dict[str, str], tmp_path: Path) -> None:
    got = command(variables, MODE="HEAD", ALLOWED_ORIGINS=f"https://a.example, {EVERY_ORIGIN}")
    assert got[6:] == ["--cors-origin", EVERY_ORIGIN, "--cors-origin", "https://a.example"]


def test_a_command_of_sllm_is_run_whatever_the_mode(variables: dict[str, str]) -> None:
    assert command(variables, "status", "--json", MODE="HEAD") == ["sllm", "status", "--json"]
    assert command(variables, "sllm", "status", MODE="") == ["sllm", "status"]
    assert command(variables, "health", MODE="HEAD") == ["health.py"]


@pytest.mark.slow
def test_a_secret_file_is_waited_for(variables: dict[str, str], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    told = {"MODE": "HEAD", "SLLM_CLUSTER_SECRET_FILE": str(secret)}
    with subprocess.Popen(
        ["sh", ENTRYPOINT], env=variables | told, stdout=subprocess.PIPE, text=True
    ) as waiting:
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.3)
        secret.write_text("a secret that is long enough")
        assert waiting.stdout is not None
        assert waiting.stdout.read().splitlines()[-2:] == ["--secret-file", str(secret)]
        assert waiting.wait() == 0


def test_a_directory_that_cannot_be_written_is_named_with_the_remedy(variables: dict[str, str]) -> None:
    done = run(variables, MODE="HEAD", SLLM_DATA_DIR="/proc/1/nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: user {os.geteuid()} of this container cannot write to /proc/1/nowhere, where its state"
        f" lives: give that volume to the user (chown {os.geteuid()}), or run the container as its owner"
        " (--user)\n"
    )


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({}, "MODE is not set: set it to HEAD, GATEWAY, WORKER or PYLET_WORKER, or name a command of sllm"),
        (
            {"MODE": "head"},
            "MODE=head is no part of a cluster: set it to HEAD, GATEWAY, WORKER or PYLET_WORKER",
        ),
        ({"MODE": "GATEWAY"}, "MODE=GATEWAY needs the head's address: set PYLET_HEAD=HOST:8000"),
        ({"MODE": "WORKER"}, "MODE=WORKER needs the head's address: set PYLET_HEAD=HOST:8000"),
        (
            {"MODE": "HEAD", "SLLM_CLUSTER_SECRET_FILE": "/nowhere", "SECRET_TIMEOUT": "0"},
            "there is no secret file /nowhere: is the head's data directory mounted there?",
        ),
    ],
)
def test_what_is_missing_is_told_in_one_sentence(
    variables: dict[str, str], told: dict[str, str], says: str
) -> None:
    done = run(variables, **told)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {says}\n")
