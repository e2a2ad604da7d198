"""``sllm bench serve``: what it sends, what it tells and writes, and how it ends."""

from __future__ import annotations

import csv
import json
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sllm_actors.cli.load.progress import progress
from sllm_actors.loadgen.figures.figures import Figures
from sllm_actors.loadgen.figures.result import RequestResult

from .conftest import Ended, Sllm
from .server import PlayedGateway
from .terminal import Terminal

PATH = "/v1/chat/completions"


def errors(ended: Ended) -> list[str]:
    """Return what was said on standard error; a busy machine is warned of there, too."""
    return [each for each in ended.err.splitlines() if not each.startswith("warning: ")]


def test_a_load_is_sent_and_its_figures_are_told_and_written(
    sllm: Sllm, gateway: PlayedGateway, tmp_path: Path
) -> None:
    files = ("--json", f"{tmp_path}/out.json", "--csv", f"{tmp_path}/out.csv")
    load = ("--clients", "2", "--requests", "6", "--input-tokens", "10", "--output-tokens", "5")
    ended = sllm("bench", "serve", "--model", "m", *load, *files, "--goodput", "ttft:60000")
    assert (ended.code, ended.out.splitlines()[0].split(" in ")[0]) == (0, "6 answered")
    for shown in ("Time to first token", "Inter-token latency", "End to end", "Goodput"):
        assert shown in ended.out
    bodies = gateway.bodies("POST", PATH)
    assert len(bodies) == 6
    assert {(each["model"], each["max_tokens"], each["stream"]) for each in bodies} == {("m", 5, True)}
    assert {len(each["messages"][0]["content"].split()) for each in bodies} == {10}
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["requests"]["answered"] == 6
    assert result["goodput"]["good"] == 6
    assert result["conditions"]["clients"] == 2
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert [each["outcome"] for each in rows] == ["answered"] * 6


def test_an_open_loop_ends_after_its_time(sllm: Sllm, gateway: PlayedGateway) -> None:
    load = ("--rate", "100", "--arrivals", "constant", "--duration", "0.2", "--seed", "3")
    ended = sllm(
        "bench", "serve", "--model", "m", *load, "--extra-body", '{"temperature": 0}', "--ignore-eos"
    )
    assert ended.code == 0
    bodies = gateway.bodies("POST", PATH)
    assert len(bodies) == 20
    assert all(each["temperature"] == 0 and each["ignore_eos"] is True for each in bodies)


@pytest.mark.slow
def test_several_models_are_asked_and_told_apart(sllm: Sllm, gateway: PlayedGateway) -> None:
    load = ("--clients", "1", "--requests", "20", "--weights", "9,1")
    ended = sllm("bench", "serve", "--model", "often", "--model", "seldom", *load)
    assert ended.code == 0
    asked = [each["model"] for each in gateway.bodies("POST", PATH)]
    assert asked.count("often") > asked.count("seldom")
    assert "often" in ended.out


def test_errors_are_told_by_kind_and_a_load_without_an_answer_has_failed(
    sllm: Sllm, gateway: PlayedGateway
) -> None:
    gateway.refusal, gateway.refused = (503, "no replica is ready", "no_replica"), ("POST",)
    ended = sllm("bench", "serve", "--model", "m", "--clients", "1", "--requests", "3")
    assert (ended.code, errors(ended)) == (1, ["error: no request was answered: see the errors above"])
    assert ended.out.startswith("0 answered, 3 failed in ")
    assert "HTTP 503 no_replica" in ended.out
    assert "no replica is ready" in ended.out


def test_a_load_of_nothing_is_told(sllm: Sllm) -> None:
    ended = sllm("bench", "serve", "--model", "m", "--rate", "0.001", "--duration", "0.1")
    (said,) = errors(ended)
    assert (ended.code, said.startswith("error: no request was due in that time")) == (1, True)


@pytest.mark.slow
def test_clients_that_leave_are_no_failure(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.token_seconds = 60.0
    load = ("--clients", "2", "--requests", "4", "--hang-up", "1", "--hang-up-after", "0")
    ended = sllm("bench", "serve", "--model", "m", *load)
    assert (ended.code, errors(ended)) == (0, [])
    assert ended.out.startswith("0 answered, 4 hung up in ")


def test_the_key_is_sent(sllm: Sllm, gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLLM_API_KEY", "sk-1")
    assert sllm("bench", "serve", "--model", "m", "--clients", "1", "--requests", "1").code == 0
    assert set(gateway.keys) == {"Bearer sk-1"}


def test_a_model_that_is_not_there_is_told_before_anything_is_sent(
    sllm: Sllm, gateway: PlayedGateway
) -> None:
    ended = sllm("bench", "serve", "--model", "nosuch", "--clients", "1")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith(f"error: there is no model 'nosuch' at {gateway.url}: ")
    assert ended.err.count("\n") == 1
    assert gateway.bodies("POST", PATH) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "give one of --rate"),
        (("--rate", "1", "--clients", "1"), "give one of --rate"),
        (("--clients", "1", "--cv", "2"), "--arrivals and --cv are for --rate"),
        (("--clients", "1", "--arrivals", "gamma"), "--arrivals and --cv are for --rate"),
        (("--rate", "1", "--cv", "2", "--arrivals", "constant"), "--cv is for --arrivals gamma"),
        (("--rate", "1", "--speed", "2"), "--speed and --trace-begin are for --trace"),
        (("--trace", "/", "--turns", "2"), "--prompts and --turns do not go with --trace"),
        (("--trace", "/nothing/here"), "does not exist"),
        (("--rate", "1", "--weights", "1,2"), "2 numbers for 1 models"),
        (("--rate", "1", "--weights", "0"), "no list of numbers above 0"),
        (("--rate", "1", "--weights", "1", "--zipf", "1"), "either --zipf or --weights"),
        (("--rate", "1", "--model", "m"), "--model m is given twice"),
        (("--rate", "1", "--input-tokens", "9-3"), "does not say how many tokens"),
        (("--rate", "1", "--goodput", "speed:3"), "is no limit"),
        (("--rate", "1", "--extra-body", "[1]"), "no object of JSON"),
        (("--rate", "nan"), "is not a number from"),
    ],
)
def test_a_wrong_command_line_is_told_in_a_sentence(
    sllm: Sllm, arguments: tuple[str, ...], sentence: str
) -> None:
    ended = sllm("bench", "serve", "--model", "m", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert sentence in " ".join(ended.err.split())


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("ftp://h", "--url=ftp://h is not an address"),
        ("http://u:p@h", "a key goes into SLLM_API_KEY"),
        ("http://name.invalid", "no server answers at http://name.invalid"),
    ],
)
def test_a_bad_address_is_told_in_a_sentence(sllm: Sllm, url: str, sentence: str) -> None:
    ended = sllm("bench", "serve", "--model", "m", "--clients", "1", "--url", url)
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert sentence in ended.err


def test_a_server_that_is_away_is_told_in_a_sentence(sllm: Sllm) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        ended = sllm("bench", "serve", "--model", "m", "--clients", "1", "--url", url)
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert ended.err.startswith(f"error: no server answers at {url} ")


def test_a_file_that_cannot_be_written_is_told_before_anything_is_sent(
    sllm: Sllm, gateway: PlayedGateway, tmp_path: Path
) -> None:
    path = tmp_path / "no" / "out.json"
    ended = sllm("bench", "serve", "--model", "m", "--clients", "1", "--json", str(path))
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == f"error: {path} cannot be written: No such file or directory\n"
    assert gateway.requests == []


def test_a_trace_is_sent_as_it_says(sllm: Sllm, gateway: PlayedGateway, tmp_path: Path) -> None:
    trace = tmp_path / "azure.csv"
    lines = [f"2023-11-16 18:00:{second:02},{second + 5},{second + 1}" for second in range(4)]
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(lines))
    arguments = ("bench", "serve", "--model", "m", "--trace", str(trace), "--speed", "100")
    assert sllm(*arguments).code == 0
    asked = gateway.bodies("POST", PATH)
    assert sorted(each["max_tokens"] for each in asked) == [1, 2, 3, 4]
    assert sorted(len(each["messages"][0]["content"].split()) for each in asked) == [5, 6, 7, 8]
    trace.write_text(trace.read_text() + "\nbroken")
    ended = sllm(*arguments)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == f"error: {trace}, line 6: it should have 3 fields, not 1\n"


@pytest.mark.slow
def test_chats_have_turns(sllm: Sllm, gateway: PlayedGateway) -> None:
    load = ("--clients", "1", "--requests", "2", "--turns", "3", "--prefix-tokens", "4")
    assert sllm("bench", "serve", "--model", "m", *load).code == 0
    roles = [[each["role"] for each in body["messages"]] for body in gateway.bodies("POST", PATH)]
    once = ["system", "user", "assistant", "user", "assistant", "user"]
    assert roles == [once[:2], once[:4], once] * 2


@pytest.mark.slow
def test_interrupted_it_shows_and_writes_what_there_is(
    sllm_process: Callable[..., subprocess.Popen[str]], gateway: PlayedGateway, tmp_path: Path
) -> None:
    path = tmp_path / "out.json"
    files = ("--json", str(path), "--csv", f"{tmp_path}/out.csv")
    process = sllm_process("bench", "serve", "--model", "m", "--clients", "1", "--duration", "3600", *files)
    while len(gateway.bodies("POST", PATH)) < 3:
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in err) == (130, False)
    assert " answered" in out
    result = json.loads(path.read_text())
    assert result["interrupted"] is True
    assert result["requests"]["answered"] >= 1
    assert len((tmp_path / "out.csv").read_text().splitlines()) == result["requests"]["ended"] + 1


def test_a_page_is_written(sllm: Sllm, tmp_path: Path) -> None:
    page = tmp_path / "out.html"
    assert (
        sllm("bench", "serve", "--model", "m", "--clients", "1", "--requests", "2", "--html", str(page)).code
        == 0
    )
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    assert text.count("<svg") == text.count("</svg>") > 3


def test_progress_shows_the_last_whole_second() -> None:
    figures = Figures(None, ("m",))
    assert progress(figures, 60) == []
    for second in range(4):
        for _ in range(second + 1):
            due = second + 0.1
            figures.record(RequestResult("m", due, due, due, due + 0.02, due + 0.1, due + 0.1, [], 1, 7, 200))
    answers, tokens, first = progress(figures, 60)
    assert (answers.split()[0], answers.split()[-1]) == ("answers/s", "3.0")
    assert "█" in answers
    assert tokens.split()[-1] == "21"
    assert "20.0 (max 20)" in first


@pytest.mark.slow
def test_at_a_terminal_a_load_shows_how_far_it_is(environment: dict[str, str]) -> None:
    load = ("bench", "serve", "--model", "m", "--clients", "1", "--duration", "3600")
    terminal = Terminal([*load], environment)
    try:
        terminal.wait_for("answers/s", seconds=60.0)
        terminal.type("\x03")
        assert "End to end" in terminal.read_all()
        assert terminal.child.wait() == 130
    finally:
        terminal.close()
