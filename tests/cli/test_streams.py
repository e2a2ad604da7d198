"""Commands whose standard streams are closed, full, broken or cannot hold every character."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .server import PlayedGateway, deployment

NO_ROOM = "error: standard output cannot be written: No space left on device\n"


def ended(line: str, environment: dict[str, str], **more: str) -> tuple[int, str, str]:
    """Run a line of shell in which ``sllm`` is ours; return its exit status, output and errors."""
    ours = f'sllm() {{ "{sys.executable}" -m sllm_actors "$@"; }}'
    done = subprocess.run(
        ["bash", "-c", f'{ours}; exec 3>&1; {line}; echo "status $?" >&3'],
        env=environment | more,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=True,
    )
    out, _, status = done.stdout.decode(errors="backslashreplace").rpartition("status ")
    return int(status), out, done.stderr.decode(errors="backslashreplace")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("streams", "status", "errors"),
    [
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        ("<&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
        (">/dev/full", 1, NO_ROOM),
        ("2>/dev/full", 0, ""),
        (">/dev/full 2>&1", 1, ""),
        (
            "</dev/null >&0",
            1,
            "error: standard output cannot be written: Bad file descriptor\n",
        ),
    ],
)
def test_a_command_that_succeeds_fails_only_when_its_output_is_lost(
    gateway: PlayedGateway,
    environment: dict[str, str],
    streams: str,
    status: int,
    errors: str,
) -> None:
    gateway.add(deployment("a:vllm"))
    assert (ended(f"sllm status {streams}", environment)[::2]) == (status, errors)


@pytest.mark.slow
@pytest.mark.parametrize("streams", [">&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full"])
@pytest.mark.parametrize(("command", "status"), [("logs nosuch", 1), ("nosuch", 2)])
def test_a_command_that_fails_does_so_by_its_own_status(
    gateway: PlayedGateway, environment: dict[str, str], command: str, status: int, streams: str
) -> None:
    found, out, errors = ended(f"sllm {command} {streams}", environment)
    assert (found, out.strip()) == (status, "")
    assert "itself" not in errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_nobody_at_all_says_nothing_in_a_chat(gateway: PlayedGateway, environment: dict[str, str]) -> None:
    assert ended("sllm chat a <&-", environment) == (0, "", "")


@pytest.mark.slow
def test_what_is_said_in_a_chat_may_be_any_bytes(gateway: PlayedGateway, environment: dict[str, str]) -> None:
    line = r"printf 'caf\xc3\xa9\ncaf\xe9\n' | sllm chat a"
    for encoding in ("utf-8", "ascii"):
        gateway.requests.clear()
        assert ended(line, environment, PYTHONIOENCODING=encoding) == (0, "Hello.\nHello.\n", "")
        asked = [body["messages"][-1]["content"] for body in gateway.bodies("POST", "/v1/chat/completions")]
        assert asked == ["café", "caf\N{REPLACEMENT CHARACTER}"]


@pytest.mark.slow
def test_a_warning_that_cannot_be_shown_does_not_undo_a_deployment(
    gateway: PlayedGateway, environment: dict[str, str]
) -> None:
    gateway.warnings = ["it is deployed with care"]
    status, out, _ = ended("sllm deploy --model a 2>/dev/full", environment)
    assert (status, out) == (0, "Deployment created: a:vllm\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii:strict", r"\u6a21 caf\xe9"), ("latin-1", r"\u6a21 caf\xe9"), ("utf-8", "模 café")],
)
def test_a_character_that_the_streams_lack_is_an_escape(
    gateway: PlayedGateway, environment: dict[str, str], encoding: str, shown: str
) -> None:
    gateway.add(deployment("a:vllm", detail="模 café"))
    status, out, errors = ended("sllm status", environment, PYTHONIOENCODING=encoding)
    assert (status, errors) == (0, "")
    assert shown in out
    status, _, errors = ended("sllm logs 模é", environment, PYTHONIOENCODING=encoding)
    assert (status, "itself" in errors) == (1, False)


@pytest.mark.slow
def test_the_beginning_of_an_output_can_be_had_alone(
    gateway: PlayedGateway, environment: dict[str, str]
) -> None:
    for number in range(2000):
        gateway.add(deployment(f"{number:04}:vllm", detail=100 * "x"))
    status, out, errors = ended("sllm status | head -1", environment)
    assert (status, out.split()[:2], errors) == (0, ["DEPLOYMENT", "STATUS"], "")


@pytest.mark.slow
def test_a_command_that_is_interrupted_before_it_has_begun_says_nothing() -> None:
    program = [
        "import signal, sys",
        "class Interrupting:",
        "    def find_spec(self, name, path=None, target=None):",
        "        if name == 'sllm_actors.cli.commands.deploy':",
        "            signal.raise_signal(signal.SIGINT)",
        "sys.meta_path.insert(0, Interrupting())",
        "from sllm_actors.cli import main",
        "main(['status'])",
    ]
    ended = subprocess.run(
        [sys.executable, "-c", "\n".join(program)], capture_output=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")
