"""``sllm status --watch``: it looks again and again, and ends well."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable

import pytest

from .conftest import Sllm
from .server import PlayedGateway, deployment
from .terminal import Terminal

Start = Callable[..., subprocess.Popen[str]]
CLEAR = "\x1b[H\x1b[2J"


@pytest.mark.slow
def test_a_terminal_shows_the_last_look_in_place_of_the_one_before(
    gateway: PlayedGateway, environment: dict[str, str]
) -> None:
    gateway.add(deployment("first:vllm", state="starting"))
    watching = Terminal(["status", "--watch", "0.1"], environment)
    try:
        watching.wait_for(CLEAR)
        watching.wait_for("first:vllm")
        gateway.add(deployment("second:vllm"))
        watching.wait_for("second:vllm")
        watching.wait_for(CLEAR)
        watching.child.send_signal(signal.SIGINT)
        assert watching.child.wait(timeout=60) == 130
        assert "Traceback" not in watching.read_all()
    finally:
        watching.close()


@pytest.mark.slow
def test_a_picture_is_cut_to_the_height_of_the_terminal(
    gateway: PlayedGateway, environment: dict[str, str]
) -> None:
    gateway.add(*(deployment(f"m{number:02}:vllm") for number in range(50)))
    small = environment | {"LINES": "10", "COLUMNS": "80"}
    watching = Terminal(["status", "--watch", "60"], small)
    try:
        watching.wait_for("m06:vllm")
        watching.wait_for("more lines: make the terminal higher")
        assert "m49" not in watching.shown
    finally:
        watching.close()


@pytest.mark.slow
def test_in_a_pipe_each_look_comes_below_the_one_before(gateway: PlayedGateway, sllm_process: Start) -> None:
    gateway.add(deployment("a:vllm", state="starting"))
    watching = sllm_process("status", "-w", "0.1")
    assert watching.stdout is not None
    lines = [watching.stdout.readline() for _ in range(6)]
    assert [line.split()[0] for line in lines if not line.startswith("---")] == ["DEPLOYMENT", "a:vllm"] * 2
    assert [number for number, line in enumerate(lines) if line.startswith("--- 2")] == [2, 5]
    assert not any("\x1b" in line for line in lines)
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=60)
    assert (watching.returncode, err.strip()) == (130, "")


@pytest.mark.slow
def test_it_ends_when_nobody_reads_it_any_more(gateway: PlayedGateway, sllm_process: Start) -> None:
    gateway.add(deployment("a:vllm"))
    watching = sllm_process("status", "--watch=0.1")
    assert watching.stdout is not None
    assert watching.stderr is not None
    assert watching.stdout.readline().startswith("DEPLOYMENT")
    watching.stdout.close()
    assert watching.wait(timeout=60) == 1
    assert watching.stderr.read() == ""


@pytest.mark.slow
def test_a_gateway_that_is_away_for_a_while_is_asked_again(
    gateway: PlayedGateway, sllm_process: Start
) -> None:
    gateway.add(deployment("a:vllm"))
    watching = sllm_process("status", "a:vllm", "--watch", "0.1")
    assert watching.stdout is not None

    def read_until(text: str) -> None:
        assert watching.stdout is not None
        while text not in (line := watching.stdout.readline()):
            assert line

    read_until("a:vllm")
    gateway.refusal = (503, "the head does not answer", "head_unavailable")
    read_until("the head does not answer")
    gateway.refusal = None
    read_until("deployment")
    gateway.refusal = (404, "no deployment a:vllm", "not_found")
    _, err = watching.communicate(timeout=60)
    assert watching.returncode == 1
    assert err.startswith("error: no deployment a:vllm")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--watch", "qwen"], "'qwen' is no number of seconds: an ID goes before --watch"),
        (["--watch", "0"], "'0' is not a number from"),
        (["--watch", "nan"], "nan"),
        (["--watch", "--json"], "--watch shows tables: leave out --json"),
        (["a", "--node", "w"], "--node chooses among deployments"),
        (["--models", "--state", "ready"], "--state chooses among deployments or --nodes"),
        (["--limit", "0"], "'0' is not a whole number of 1 or more"),
    ],
)
def test_what_cannot_be_asked_for_together_is_one_sentence(
    sllm: Sllm, arguments: list[str], sentence: str
) -> None:
    ended = sllm("status", *arguments)
    assert ended.code == 2
    assert sentence in ended.err


def test_a_gateway_that_is_away_at_the_first_look_is_a_failure(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.refusal = (503, "the head does not answer", "head_unavailable")
    ended = sllm("status", "--watch")
    assert (ended.code, ended.out, ended.err) == (1, "", "error: the head does not answer\n")
