"""Makes one answer of the chunks of a stream: the answer of llama.cpp to the same request, unstreamed. Pure.

When a client hangs up, llama.cpp stops a generation that is streamed, but goes on with one that is not. So it
is always asked to stream, and for a client that wants one answer the stream is put together here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from attrs import define, field

Chunk = Mapping[str, Any]
"""The JSON object of one event of a stream."""

# Fields of the whole answer, each with the value that was seen last.
_COMMON = ("created", "model", "system_fingerprint", "service_tier", "id")


class Assembly(Protocol):
    """Takes chunks and makes one document of them. Parts of chunks that have no known shape are skipped."""

    def add(self, chunk: Chunk) -> None:
        """Take the next chunk."""

    def document(self) -> dict[str, Any]:
        """Return the answer; call it once the stream has ended."""


@define
class _Usage:
    """The usage of the answer: that of the first choice, as in the engine's own unstreamed answer."""

    known: dict[str, Any] = field(factory=dict)
    _of_first: bool = False

    def add(self, chunk: Chunk, index: int) -> None:
        found = {key: chunk[key] for key in ("usage", "timings") if chunk.get(key) is not None}
        if self._of_first or not found:
            return
        if "usage" not in found:
            # Timings without usage belong to an answer that is still under way; those beside it are final.
            self.known = found | self.known
        elif index == 0 or "usage" not in self.known:
            self.known |= found
            self._of_first = index == 0


def _choices(chunk: Chunk) -> list[dict[str, Any]]:
    choices = chunk.get("choices")
    return [each for each in choices if isinstance(each, dict)] if isinstance(choices, list) else []


def _index(choice: Chunk) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) else 0


def _merge_logprobs(known: Any, new: Any) -> Any:
    if not isinstance(new, dict):
        return known
    if not isinstance(known, dict):
        return {key: list(value) if isinstance(value, list) else value for key, value in new.items()}
    for key, value in new.items():
        if isinstance(value, list) and isinstance(known.get(key), list):
            known[key] += value
        elif value is not None:
            known[key] = value
    return known


class CompletionAssembly:
    """Assembles an answer of ``/v1/completions``."""

    def __init__(self) -> None:
        self._common: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._usage = _Usage()

    def add(self, chunk: Chunk) -> None:
        """See ``Assembly``."""
        self._common |= {key: chunk[key] for key in _COMMON if key in chunk}
        index = 0
        for part in _choices(chunk):
            index = _index(part)
            choice = self._choices.setdefault(
                index, {"text": "", "index": index, "logprobs": None, "finish_reason": None}
            )
            for key, value in part.items():
                if key == "text" and isinstance(value, str):
                    choice["text"] += value
                elif key == "logprobs":
                    choice["logprobs"] = _merge_logprobs(choice["logprobs"], value)
                elif key not in ("text", "index") and value is not None:
                    choice[key] = value
        self._usage.add(chunk, index)

    def document(self) -> dict[str, Any]:
        """See ``Assembly``."""
        choices = [self._choices[index] for index in sorted(self._choices)]
        return {"choices": choices, "object": "text_completion", **self._common, **self._usage.known}


class ChatAssembly:
    """Assembles an answer of ``/v1/chat/completions``, tool calls included."""

    def __init__(self) -> None:
        self._common: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._calls: dict[int, dict[int, dict[str, Any]]] = {}
        self._usage = _Usage()
        self._finished = 0

    def add(self, chunk: Chunk) -> None:
        """See ``Assembly``."""
        self._common |= {key: chunk[key] for key in _COMMON if key in chunk}
        for part in _choices(chunk):
            index = self._finished = _index(part)
            choice = self._choices.setdefault(
                index,
                {"finish_reason": None, "index": index, "message": {"role": "assistant", "content": None}},
            )
            for key, value in part.items():
                if key == "delta" and isinstance(value, dict):
                    self._add_delta(index, choice["message"], value)
                elif key == "logprobs":
                    if value is not None:
                        choice["logprobs"] = _merge_logprobs(choice.get("logprobs"), value)
                elif key not in ("delta", "index") and value is not None:
                    choice[key] = value
        # The usage of a choice comes in a chunk of its own, right after that choice's last one.
        self._usage.add(chunk, self._finished)

    def _add_delta(self, index: int, message: dict[str, Any], delta: Chunk) -> None:
        for key, value in delta.items():
            if key == "tool_calls" and isinstance(value, list):
                for part in value:
                    if isinstance(part, dict):
                        self._add_call(index, part)
            elif key in ("role", "name"):
                message[key] = value
            elif (isinstance(value, str) and isinstance(message.get(key), str)) or (
                isinstance(value, list) and isinstance(message.get(key), list)
            ):
                message[key] += value
            elif value is not None:
                message[key] = value

    def _add_call(self, index: int, part: dict[str, Any]) -> None:
        calls = self._calls.setdefault(index, {})
        number = part.get("index")
        call = calls.setdefault(number if isinstance(number, int) else len(calls), {})
        for key, value in part.items():
            if key == "function" and isinstance(value, dict):
                function = call.setdefault("function", {})
                for name, text in value.items():
                    known = function.get(name)
                    joined = name == "arguments" and isinstance(known, str) and isinstance(text, str)
                    function[name] = known + text if joined and known is not None else text
            elif key != "index" and value is not None:
                call[key] = value

    def document(self) -> dict[str, Any]:
        """See ``Assembly``."""
        for index, calls in self._calls.items():
            self._choices[index]["message"]["tool_calls"] = [calls[number] for number in sorted(calls)]
        for choice in self._choices.values():
            message = choice["message"]
            if message["content"] is None and "tool_calls" not in message:
                message["content"] = ""
        choices = [self._choices[index] for index in sorted(self._choices)]
        return {"choices": choices, "object": "chat.completion", **self._common, **self._usage.known}


ASSEMBLIES: Mapping[str, type[ChatAssembly | CompletionAssembly]] = {
    "/v1/chat/completions": ChatAssembly,
    "/v1/completions": CompletionAssembly,
}
"""What assembles the answers of each path; answers of any other path are never streamed behind the client."""
