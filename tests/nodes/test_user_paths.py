"""Where things are kept, for users with a home and for those without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sllm_actors.nodes.user_paths import NoHome, absolute, complete_user, default_data_dir

NOBODY = ("unshare", "--user", "--map-user=12345", "--map-group=12345")
"""Runs a program as a user whom the system does not know, as a container does that was given a number."""


def test_state_is_kept_in_the_home_unless_told_otherwise() -> None:
    assert default_data_dir({"HOME": "/home/a"}) == Path("/home/a/.local/share/sllm")
    assert default_data_dir({"HOME": "/home/a", "XDG_DATA_HOME": "/data"}) == Path("/data/sllm")
    assert default_data_dir({"HOME": "/home/a", "XDG_DATA_HOME": "data"}) == Path("/home/a/.local/share/sllm")
    known = Path(f"~{os.environ.get('USER', 'root')}").expanduser()
    assert default_data_dir({}) == default_data_dir({"HOME": ""}) == known / ".local/share/sllm"


def test_a_home_that_nobody_has_is_named() -> None:
    with pytest.raises(NoHome, match=r"^~nosuchuser/x begins in a home that is not known: give it in full$"):
        absolute(Path("~nosuchuser/x"))


def test_a_user_whom_the_system_knows_needs_nothing() -> None:
    environ: dict[str, str] = {}
    complete_user(environ, Path("/data"))
    assert environ == {}


@pytest.fixture
def nobody() -> tuple[str, ...]:
    if subprocess.run([*NOBODY, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs user namespaces")
    return NOBODY


def test_a_user_whom_nobody_knows_gets_a_home_and_a_name(nobody: tuple[str, ...]) -> None:
    program = (
        "from pathlib import Path; from sllm_actors.nodes.user_paths import complete_user as c;"
        "e = {}; c(e, Path('/data')); print(e);"
        "e = {'HOME': '/h', 'LOGNAME': 'a'}; c(e, Path('/data')); print(e)"
    )
    said = subprocess.run(
        [*nobody, sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert said.stdout.splitlines() == [
        "{'HOME': '/data', 'USER': 'uid-12345'}",
        "{'HOME': '/h', 'LOGNAME': 'a'}",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["up", "engines list", "status"])
def test_a_user_without_a_home_is_told_what_to_name(nobody: tuple[str, ...], command: str) -> None:
    env = {name: value for name, value in os.environ.items() if name not in ("HOME", "SLLM_DATA_DIR")}
    ended = subprocess.run(
        [*nobody, sys.executable, "-m", "sllm_actors", *command.split()],
        env={**env, "LLM_SERVER_URL": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
        check=False,
    )
    sentence = "no home directory is known of user 12345: name a folder to keep things in with --data-dir"
    assert ended.returncode == 1
    assert sentence in ended.stderr if command != "status" else "no sllm gateway answers" in ended.stderr
    assert ended.stderr.count("\n") == 1
