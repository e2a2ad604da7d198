"""Which deployment a name means, and what a chat remembers."""

from __future__ import annotations

import pytest

from sllm_actors.cli.answers.deployments import DeploymentDocument
from sllm_actors.cli.conversation import LONGEST_MEMORY, Conversation
from sllm_actors.cli.errors import CommandFailure
from sllm_actors.cli.lookup import find_deployment, in_words, is_deployed

LLAMACPP = DeploymentDocument("opt:llamacpp", "opt", "llamacpp")
VLLM = DeploymentDocument("opt:vllm", "opt", "vllm")
OTHER = DeploymentDocument("smol:vllm", "smol", "vllm")
THREE = [LLAMACPP, VLLM, OTHER]


@pytest.mark.parametrize(
    ("name", "backend", "found"),
    [("opt:vllm", None, VLLM), ("smol", None, OTHER), ("opt", "llamacpp", LLAMACPP), ("smol", "vllm", OTHER)],
)
def test_a_deployment_is_found_by_id_or_by_model(
    name: str, backend: str | None, found: DeploymentDocument
) -> None:
    assert find_deployment(THREE, name, backend) is found


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a/b:vllm", "a/b:vllm"), ("", "''"), (" ", "' '"), ("a b", "'a b'"), ("a\n", r"'a\n'")],
)
def test_a_name_whose_ends_cannot_be_seen_is_in_quotes(name: str, shown: str) -> None:
    assert in_words(name) == shown


def test_what_is_deployed_is_known_by_both_names() -> None:
    assert is_deployed(THREE, "opt")
    assert is_deployed(THREE, "opt:vllm", "vllm")
    assert not is_deployed(THREE, "opt", "sglang")
    assert not is_deployed(THREE, "opt:vllm", "llamacpp")
    assert not is_deployed([], "opt")


@pytest.mark.parametrize(
    ("name", "backend", "words"),
    [
        ("opt", None, "opt is deployed more than once: name one of opt:llamacpp, opt:vllm"),
        ("nobody", None, "no deployment nobody: sllm status"),
        ("smol", "llamacpp", "no deployment smol with backend llamacpp"),
    ],
)
def test_a_name_that_means_no_single_deployment_is_refused(
    name: str, backend: str | None, words: str
) -> None:
    with pytest.raises(CommandFailure, match=words):
        find_deployment(THREE, name, backend)


def test_a_conversation_is_told_whole_without_questions_that_got_no_answer() -> None:
    conversation = Conversation("be brief")
    conversation.add("hi", "hello")
    conversation.add("lost", "")
    said = [(each["role"], each["content"]) for each in conversation.messages_with("and?")]
    assert said == [("system", "be brief"), ("user", "hi"), ("assistant", "hello"), ("user", "and?")]


def test_the_oldest_exchanges_are_forgotten_first() -> None:
    conversation = Conversation()
    for number in range(LONGEST_MEMORY + 5):
        conversation.add(f"q{number}", "a")
    messages = conversation.messages_with("last")
    assert len(messages) == 2 * LONGEST_MEMORY + 1
    assert messages[0]["content"] == "q5"
