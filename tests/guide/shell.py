"""A person's shell on a host of the test bed: what is exported there stays for the next command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from attrs import define, field
from tests.e2e.cluster import Sllm
from tests.hosts.host import ROOT, Host

PLAYED_DOCKER = f'exec {sys.executable} {Path(__file__).parent / "played_docker.py"} "$@"'
"""A ``docker`` for machines where no container can run."""

STATE = "/tmp/exported"


@define
class Shell:
    """A shell on one host, in which ``sllm`` and ``docker`` are commands.

    Attributes:
        host: The host.
        docker: What runs as ``docker`` there, as a script that gets its arguments.
        directory: Where commands run, as the host sees it.
    """

    host: Host
    docker: str = "exec false"
    directory: str = "/tmp/home"
    _environment: dict[str, str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        programs = self.host.path("/tmp/bin")
        self.host.path(self.directory).mkdir(parents=True)
        programs.mkdir()
        self._add("sllm", f'exec {sys.executable} -m sllm_actors "$@"')
        self._add("docker", self.docker)
        path = {"PATH": f"/tmp/bin:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        self._environment = {**os.environ, **self.host.environment, **path}
        # Each host has its own home, and nothing points anywhere else.
        for name in ("SLLM_DATA_DIR", "LLM_SERVER_URL", "SLLM_API_KEY", "STORAGE_PATH"):
            self._environment.pop(name, None)
        self.host.path(STATE).touch()

    def _add(self, name: str, script: str) -> None:
        program = self.host.path(f"/tmp/bin/{name}")
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def __call__(self, script: str, *, check: bool = True, stdin: str = "") -> str:
        """Run a piece of a script; return what it printed.

        Args:
            script: Commands, as they are typed.
            check: Whether the last of them has to succeed, and every one of a chain.
            stdin: What they read.
        """
        whole = f"set -e\n. {STATE}\n{script}\ndeclare -px >{STATE}\n"
        done = subprocess.run(
            [*self.host.prefix, "bash", "-c", f"cd {self.directory}\n{whole}"],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=self._environment,
            timeout=240,
        )
        assert not check or done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self, command: str) -> Sllm:
        """Start a command that runs in the foreground until it is stopped."""
        script = f"cd {self.directory}; . {STATE}; exec {command}"
        # Sllm puts its own variables over those of the tests: so they go through ``env``.
        settings = [f"{name}={value}" for name, value in self._environment.items()]
        return Sllm("-c", script, program=["env", "-i", *settings, "bash"], prefix=self.host.prefix)
