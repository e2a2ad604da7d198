"""``sllm chat``: streamed, with a memory, and ^C stops an answer and not the chat."""

from __future__ import annotations

import contextlib
import subprocess

import pytest

from sllm_actors.cli.conversation import LONGEST_MEMORY, Conversation
from sllm_actors.cli.lookup import in_words

from .conftest import Sllm
from .server import PlayedGateway
from .terminal import Terminal

PATH = "/v1/chat/completions"


def test_each_line_is_answered_and_the_conversation_is_remembered(sllm: Sllm, gateway: PlayedGateway) -> None:
    ended = sllm("chat", "m", "--system", "Be brief.", "--temperature", "0", stdin="Hi\n\nAgain\n/exit\nno\n")
    assert (ended.code, ended.out, ended.err) == (0, "Hello.\nHello.\n", "")
    first, second = gateway.bodies("POST", PATH)
    assert (first["model"], first["stream"], first["temperature"]) == ("m", True, 0)
    assert "max_tokens" not in first
    assert second["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Again"},
    ]


@pytest.mark.parametrize("name", ["nosuch", ".", "..", "a b/c"])
def test_a_model_that_is_not_there_is_told_before_anything_is_asked(sllm: Sllm, name: str) -> None:
    ended = sllm("chat", name, stdin="")
    sentence = (
        f"error: no model {in_words(name)} is deployed: sllm ls lists what is there, "
        "and sllm run deploys a model and chats with it\n"
    )
    assert (ended.code, ended.out, ended.err) == (1, "", sentence)


def test_an_error_within_the_stream_is_told(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.last_event = '{"error": {"message": "the engine died"}}'
    ended = sllm("chat", "m", stdin="Hi\n")
    assert (ended.code, ended.out) == (1, "Hello.\n")
    assert ended.err == "error: the answer broke off: the engine died\n"


def test_a_stream_without_its_last_event_is_not_taken_for_whole(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.last_event = None
    ended = sllm("chat", "m", stdin="Hi\n")
    assert (ended.code, "the connection ended in the middle" in ended.err) == (1, True)


def test_a_model_cannot_steer_the_terminal(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.tokens = ["a\x1b", "]0;ti", "tle\x07b\x1b[", "2J", "\u202ec", "\ud83d", " tail\x1b"]
    assert sllm("chat", "m", stdin="Hi\n").out == "abc� tail\n"


def test_the_memory_has_a_bound_and_no_unanswered_questions() -> None:
    conversation = Conversation("s")
    for number in range(LONGEST_MEMORY + 5):
        conversation.add(f"q{number}", f"a{number}")
    conversation.add("stopped at once", "")
    messages = conversation.messages_with("last")
    assert len(messages) == 1 + 2 * LONGEST_MEMORY + 1
    assert [message["content"] for message in messages[:2]] == ["s", "q5"]
    assert [message["content"] for message in messages[-2:]] == [f"a{LONGEST_MEMORY + 4}", "last"]


@pytest.mark.slow
def test_interrupting_an_answer_keeps_the_chat_and_what_was_said(
    gateway: PlayedGateway, environment: dict[str, str]
) -> None:
    gateway.tokens = ["so ", "far ", *(["and on "] * 1000)]
    gateway.token_seconds = 0.05
    terminal = Terminal(["chat", "m"], environment)
    try:
        terminal.wait_for(">>> ")
        terminal.type("Tell me\r")
        terminal.wait_for("so far and on")
        terminal.type("\x03")
        terminal.wait_for("[stopped]")
        terminal.wait_for(">>> ")
        gateway.tokens = ["yes"]
        terminal.type("And now?\r")
        terminal.wait_for("yes")
        terminal.wait_for(">>> ")
        terminal.type("\x04")
        assert terminal.child.wait(60) == 0
    finally:
        terminal.close()
    remembered = gateway.bodies("POST", PATH)[1]["messages"][1]["content"]
    assert remembered.startswith("so far and on")
    assert gateway.hang_ups == 1


@pytest.mark.slow
def test_an_interrupt_at_the_prompt_ends_the_chat_with_130(
    gateway: PlayedGateway, environment: dict[str, str]
) -> None:
    terminal = Terminal(["chat", "m"], environment)
    try:
        terminal.wait_for(">>> ")
        # input() shows its prompt a moment before it listens to signals: the first may go unnoticed.
        for _ in range(20):
            terminal.type("\x03")
            with contextlib.suppress(subprocess.TimeoutExpired):
                terminal.child.wait(10)  # a second one, while it ends, would kill it
                break
        assert terminal.child.poll() == 130
    finally:
        terminal.close()


@pytest.mark.slow
def test_a_failed_question_leaves_the_chat_open(gateway: PlayedGateway, environment: dict[str, str]) -> None:
    terminal = Terminal(["chat", "m"], environment)
    try:
        terminal.wait_for(">>> ")
        gateway.refusal = (503, "no replica is ready", "overloaded")
        terminal.type("Hi\r")
        terminal.wait_for("error: no replica is ready")
        terminal.wait_for(">>> ")
        gateway.refusal = None
        terminal.type("Hi\r")
        terminal.wait_for("Hello.")
    finally:
        terminal.close()
