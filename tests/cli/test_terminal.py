"""What commands write: through one filter, and in tables that fit the terminal."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len

import sllm_actors.cli
from sllm_actors.cli import terminal
from sllm_actors.cli.display.text_table import shortened

from .conftest import Sllm
from .server import PlayedGateway, deployment
from .terminal import Terminal

EVIL = "\x1b]0;owned\x07\x9b2J\x1b[31m\x07\u202e"
SOURCES = sorted(Path(sllm_actors.cli.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_only_one_file_writes(source: Path) -> None:
    if source.name == "terminal.py":
        return
    called = [
        ast.unparse(each.func)
        for each in ast.walk(ast.parse(source.read_text()))
        if isinstance(each, ast.Call)
    ]
    assert not {
        "print",
        "click.echo",
        "click.secho",
        "sys.stdout.write",
        "sys.stderr.write",
        "Console",
    } & set(called)


@pytest.fixture
def evil(gateway: PlayedGateway) -> PlayedGateway:
    """A gateway that answers with text that steers terminals wherever text may stand."""
    instance = {
        "id": f"a:vllm@1.0.1{EVIL}",
        "node": f"n{EVIL}",
        "state": "failed",
        "reason": f"why{EVIL}",
        "exit_status": f"exit{EVIL}",
        "log_tail": [f"tail{EVIL}"],
    }
    told = {"detail": f"detail{EVIL}", "spec": {"source": f"hf:x{EVIL}"}, "instances": [instance]}
    gateway.add(deployment("a:vllm", state="failed", **told), deployment(f"b{EVIL}:vllm"))
    server = {"backend": f"vllm{EVIL}", "state": f"failed{EVIL}", "reason": f"no{EVIL}"}
    gateway.nodes = [
        {
            "id": "n1",
            "name": f"n{EVIL}",
            "role": f"worker{EVIL}",
            "host": f"h{EVIL}",
            "labels": {f"k{EVIL}": f"v{EVIL}"},
        }
        | {"fork_servers": [server], "models": [{"source": f"hf:m{EVIL}", "size": 1}]}
    ]
    gateway.warnings = [f"careful{EVIL}"]
    gateway.tokens = [f"said{EVIL}"]
    gateway.logs["a:vllm@1.0.1"] = [{"offset": 0, "next_offset": 9, "text": f"log{EVIL}\n", "ended": True}]
    return gateway


@pytest.mark.parametrize(
    "command",
    [
        *("status", "status a:vllm", "status --nodes", "status --models", "logs a:vllm@1.0.1", "chat m"),
        *(
            "deploy --model a --wait",
            "status c",
            "logs c",
            "delete c",
            f"nonsense{EVIL}",
            f"deploy --model {EVIL}",
        ),
    ],
)
def test_no_command_passes_on_what_steers_a_terminal(sllm: Sllm, evil: PlayedGateway, command: str) -> None:
    ended = sllm(*command.split(" "), stdin="Hi\n")
    for written in (ended.out, ended.err):
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(written)
    assert ended.out + ended.err
    evil.refusal = (400, f"refused{EVIL}", "refused")
    refused = sllm(*command.split(" "), stdin="Hi\n").err
    assert refused
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(refused)


def test_json_is_whole_and_harmless(sllm: Sllm, evil: PlayedGateway) -> None:
    out = sllm("status", "--json").out
    assert json.loads(out)["nodes"] == evil.nodes
    assert out.replace("\n", "").isprintable()


@pytest.mark.parametrize("width", [40, 9, 2, 1])
@pytest.mark.parametrize("text", ["a" * 41, "日本" * 30, "e\u0301" * 50])
def test_a_name_is_cut_in_its_middle_to_the_columns_that_there_are(text: str, width: int) -> None:
    short = shortened(text, width)
    assert cell_len(short) <= width
    assert "…" in short
    assert short == "…" or (
        text.startswith(short.partition("…")[0]) and text.endswith(short.partition("…")[2])
    )


@pytest.fixture
def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def set_width(columns: int) -> None:
        monkeypatch.setattr(terminal, "is_interactive", lambda: True)
        monkeypatch.setenv("COLUMNS", str(columns))

    return set_width


def test_long_names_leave_a_table_whole_and_are_whole_in_a_pipe(
    sllm: Sllm, gateway: PlayedGateway, at_a_terminal: Callable[[int], None]
) -> None:
    name = f"organisation/{'very-' * 30}long-name:vllm"
    gateway.add(deployment(name), deployment("short:vllm"))
    assert name in sllm("status").out
    at_a_terminal(80)
    lines = sllm("status").out.splitlines()
    assert len(lines) == 3
    assert all(cell_len(line) <= 80 for line in lines)
    assert lines[1].startswith("organisation/very-")
    assert "long-name:vllm  ready" in lines[1]


def test_narrow_columns_stay_whole_and_empty_ones_are_left_out_at_a_terminal(
    sllm: Sllm, gateway: PlayedGateway, at_a_terminal: Callable[[int], None]
) -> None:
    node = {"id": "n1", "role": "gateway", "state": "up", "host": "10.0.0.123", "since": 1.0}
    gateway.nodes = [node | {"name": f"{'long-' * 20}name"}, node]
    assert "LABELS" in sllm("status", "--nodes").out
    at_a_terminal(60)
    header, *lines = sllm("status", "--nodes").out.splitlines()
    assert header.split() == ["NODE", "ROLE", "STATUS", "AGE", "HOST"]
    assert all("gateway  up " in line and line.rstrip().endswith("10.0.0.123") for line in lines)
    assert all(cell_len(line) <= 60 for line in (header, *lines))


def test_a_long_sentence_is_told_whole(
    sllm: Sllm, gateway: PlayedGateway, at_a_terminal: Callable[[int], None]
) -> None:
    detail = "no worker has 2 free GPUs for it (" + ", ".join(f"worker-{n} has 1" for n in range(20)) + ")"
    gateway.add(deployment("a:vllm", state="failed", detail=detail))
    at_a_terminal(80)
    lines = sllm("status").out.splitlines()
    assert lines[0].split() == ["DEPLOYMENT", "STATUS", "REPLICAS"]  # the other columns have nothing in them
    assert all(line.startswith("  ") and cell_len(line) <= 80 for line in lines[2:])
    assert " ".join(line.strip() for line in lines[2:]) == detail


@pytest.mark.slow
def test_a_log_at_a_terminal_steers_nothing(gateway: PlayedGateway, environment: dict[str, str]) -> None:
    texts = ["a\x1b]0;ti", "tle\x07\x1b[3", "1mred\x1b[0m\r", "\nlast\x1b"]
    chunks = [
        {"offset": i, "next_offset": i + 1, "text": text, "ended": i == 3} for i, text in enumerate(texts)
    ]
    gateway.logs["a:vllm@1.0.1"] = chunks
    shown = Terminal(["logs", "-f", "a:vllm@1.0.1"], environment)
    try:
        assert shown.read_all() == "ared\r\nlast"
    finally:
        shown.close()
    raw = Terminal(["logs", "-f", "--raw", "a:vllm@1.0.1"], environment)
    try:
        assert raw.read_all() == "".join(texts).replace("\n", "\r\n")
    finally:
        raw.close()


@pytest.mark.slow
def test_progress_at_a_terminal_is_shown_as_it_is_and_steers_nothing(
    gateway: PlayedGateway, environment: dict[str, str]
) -> None:
    instance = {"id": "r1", "state": "starting", "progress": f"[bold]:fire: loading{EVIL}"}
    starting = deployment("a:vllm", state="starting", instances=[instance])
    gateway.add(starting, starting, deployment("a:vllm"))
    waiting = Terminal(["deploy", "a", "--wait"], environment)
    try:
        shown = waiting.read_all()
    finally:
        waiting.close()
    assert "a:vllm: starting, [bold]:fire: loading" in shown
    assert "owned" not in shown
    assert "\x07" not in shown
    assert "Ready: a:vllm" in shown


@pytest.mark.slow
@pytest.mark.parametrize("width", [100, 80, 60])
def test_everything_that_status_shows_fits_the_terminal(
    sllm: Sllm, gateway: PlayedGateway, at_a_terminal: Callable[[int], None], width: int
) -> None:
    names = [f"organisation/{'very-' * 30}long-name:vllm", f"{'模型' * 40}:vllm", "short:vllm"]
    lacks = "; ".join(f"工作{number} has 15 of 16 free" for number in range(8))
    reason = f"no worker has 16 free GPUs for it ({lacks})"
    for number, name in enumerate(names):
        instances = [
            {
                "id": f"{name}@12.{1000 + index}.100",
                "node": f"n{index}",
                "node_name": f"{'rack-' * 10}{index}",
                "state": state,
                "failures": 12,
                "reason": reason,
                "since": 1.0,
                "pid": 4_000_000 + index,
                "node_state": "suspect",
                "endpoint": f"http://{'a-long-host-name.' * 5}example:8000",
            }
            for index, state in enumerate(["ready", "crash_loop", "starting"])
        ]
        states = ["crash_loop", "ready", "starting"]
        rollout = {"revision": 3, "state": "rolled_back", "reason": reason, "ready": 0, "wanted": 200}
        more = {"desired_replicas": 256, "ready_replicas": 255, "detail": reason, "rollout": rollout}
        gateway.add(deployment(name, state=states[number], instances=instances, **more))
    gateway.totals = {"deployments": 3, "replicas": 9, "nodes": {"up": 1000}}
    gateway.nodes = [
        {
            "id": f"n{index}",
            "name": f"{'机架-' * 10}{index}",
            "role": "worker",
            "host": f"{'2001:db8:' * 4}{index}",
            "state": "suspect",
            "reason": reason,
            "since": 1.0,
            "gpus_total": 16,
            "gpus_free": 15,
            "gpus_stuck": 1,
            "cpus": 384,
            "memory_total": 2048 * 2**30,
            "memory_free": 1999 * 2**30,
            "labels": {f"label-{number}": "x" * 20 for number in range(8)},
            "fork_servers": [{"backend": "vllm", "state": "failed", "reason": reason}],
            "models": [{"source": f"hf:{'org' * 30}/name@main", "size": 10**12, "last_used": 1.0}],
        }
        for index in range(2)
    ]
    at_a_terminal(width)
    for command in ("status", f"status {names[0]}", "status --nodes", "status --models", "ps -a"):
        shown = sllm(*command.split(" ")).out
        too_long = [line for line in shown.splitlines() if cell_len(line) > width]
        assert too_long == [], command
    nodes = sllm("status", "--nodes").out
    assert nodes.startswith("NODE ")  # no name of a column is broken
    assert ("memory free: 1999.0/2048.0 GiB" in nodes) == (width == 60)
    everything = " ".join(sllm("status").out.split())
    for told in ("crash_loop", "255/256", "revision 3 was rolled back", "9 replicas; nodes: 1000 up"):
        assert told in everything
    assert "\x1b" not in everything
