"""Shells complete the command line: by the script that ``sllm completion`` prints, and real names."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sllm_actors.cli import completing

from .conftest import Sllm
from .server import PlayedGateway, deployment

PROGRAM = Path(sys.executable).parent / "sllm"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def offered(sllm: Sllm, monkeypatch: pytest.MonkeyPatch, line: str) -> list[str]:
    """Return what the program itself offers at the end of a line, as it tells bash."""
    words = line.split(" ")
    with monkeypatch.context() as asked:
        asked.setenv("_SLLM_COMPLETE", "bash_complete")
        asked.setenv("COMP_WORDS", line)
        asked.setenv("COMP_CWORD", str(len(words) - 1))
        ended = sllm()
    assert (ended.code, ended.err) == (0, "")
    return [each.removeprefix("plain,") for each in ended.out.splitlines() if each]


def test_commands_options_and_choices_are_offered(sllm: Sllm, monkeypatch: pytest.MonkeyPatch) -> None:
    assert offered(sllm, monkeypatch, "sllm de") == ["delete", "deploy"]
    assert offered(sllm, monkeypatch, "sllm deploy --min") == ["--min-instances"]
    assert offered(sllm, monkeypatch, "sllm up --fork-servers v") == ["vllm"]
    assert offered(sllm, monkeypatch, "sllm deploy m --backend l") == ["llamacpp"]


@pytest.mark.parametrize(
    "command",
    ["delete", "rm", "chat", "run", "update", "pull", "status", "logs", "events", "load", "unload", "sleep"],
)
def test_what_is_deployed_is_offered_by_its_model(
    sllm: Sllm, gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    for name in ("facebook/opt-1.3b:vllm", "facebook/both:vllm", "facebook/both:llamacpp", "other:vllm"):
        gateway.add(deployment(name))
    assert offered(sllm, monkeypatch, f"sllm {command} face") == [
        "facebook/both:llamacpp",
        "facebook/both:vllm",
        "facebook/opt-1.3b",
    ]


@pytest.mark.parametrize(
    "command", ["drain", "undrain", "uncordon", "node remove", "status --node", "pull m --worker"]
)
def test_workers_are_offered_by_their_names(
    sllm: Sllm, gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    names = {"w-1": "rack-1", "w-2": "rack-2", "w-3": "twin", "w-4": "twin"}
    gateway.nodes = [{"id": node, "name": name, "role": "worker"} for node, name in names.items()]
    assert offered(sllm, monkeypatch, f"sllm {command} rack") == ["rack-1", "rack-2"]
    assert offered(sllm, monkeypatch, f"sllm {command} w") == ["w-3", "w-4"]


@pytest.mark.parametrize("command", ["update", "delete"])
def test_keys_are_offered_by_their_names(
    sllm: Sllm, gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    gateway.api_keys.update({name: {"name": name} for name in ("chat", "check", "batch")})
    assert offered(sllm, monkeypatch, f"sllm keys {command} ch") == ["chat", "check"]


def test_a_gateway_that_refuses_or_is_away_offers_nothing_and_says_nothing(
    sllm: Sllm, gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.refusal = (401, "this gateway wants a key", "invalid_api_key")
    assert offered(sllm, monkeypatch, "sllm delete m") == []
    monkeypatch.setenv("LLM_SERVER_URL", "http://127.0.0.1:1")
    assert offered(sllm, monkeypatch, "sllm delete m") == []
    monkeypatch.setenv("LLM_SERVER_URL", "no address")
    assert offered(sllm, monkeypatch, "sllm drain m") == []


def test_a_gateway_that_does_not_answer_is_not_waited_for(
    sllm: Sllm, monkeypatch: pytest.MonkeyPatch, silent_port: int
) -> None:
    monkeypatch.setattr(completing, "COMPLETING_SECONDS", 0.1)
    monkeypatch.setenv("LLM_SERVER_URL", f"http://127.0.0.1:{silent_port}")
    assert offered(sllm, monkeypatch, "sllm delete m") == []


BASH = """
source <(sllm completion bash)
COMP_WORDS=(sllm deploy --min) COMP_CWORD=2
_sllm_completion sllm
printf '%s\\n' "${COMPREPLY[@]}"
"""
ZSH = """
autoload -Uz compinit && compinit -u -d "$HOME/dump"
source <(sllm completion zsh)
(( $+functions[_sllm_completion] )) && [[ $_comps[sllm] == _sllm_completion ]]
compadd() { print -rl -- "$@" }
_describe() { print -rl -- ${(P)3} }
words=(sllm deploy --min) CURRENT=3
_sllm_completion
"""
FISH = """
sllm completion fish | source
complete -C 'sllm deploy --min'
"""


@pytest.mark.slow
@pytest.mark.parametrize(("shell", "script"), [("bash", BASH), ("zsh", ZSH), ("fish", FISH)])
def test_a_real_shell_completes_by_the_script(shell: str, script: str, environment: dict[str, str]) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    path = f"{PROGRAM.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [shell, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment | {"PATH": path},
    )
    assert done.returncode == 0, done.stderr
    assert "--min-instances" in done.stdout
    assert "--max-instances" not in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_asks_sllm(sllm: Sllm, shell: str) -> None:
    ended = sllm("completion", shell)
    assert (ended.code, ended.err) == (0, "")
    assert f"_SLLM_COMPLETE={shell}_complete" in ended.out


def test_another_shell_is_refused_with_those_that_there_are(sllm: Sllm) -> None:
    ended = sllm("completion", "tcsh")
    assert ended.code == 2
    assert "'bash', 'zsh', 'fish'" in ended.err
