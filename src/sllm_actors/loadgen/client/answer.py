"""Reads one answer: when its tokens came, how many there were, and what went wrong. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from .server_timing import COMMENT, hold_of

LARGEST: Final = 16 * 2**20
"""Bytes that an answer that is not streamed may have, and one event of a stream."""

LONGEST_REASON: Final = 300
"""Characters that are kept of what a server says of an error."""


class _Delta(msgspec.Struct):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: Any = None

    @property
    def text(self) -> Any:
        return self.content or self.reasoning_content or self.reasoning or self.tool_calls


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    message: _Delta | None = None
    text: Any = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Document(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Document).decode


class AnswerReader:
    """Takes the body of one answer as it comes.

    Args:
        streamed: Whether it was asked for as a stream of events.

    Attributes:
        first: When the first token came, in the clock of ``feed``; None while none has, and for an answer
            that is not streamed.
        last: When the last one came.
        gaps: Seconds between each two events with tokens that follow one another.
        events: How many events with tokens there were.
        input_tokens: Of the prompt, as the server counts them; 0 where it does not say.
        output_tokens: Of the answer, in the same way; where the server does not say, events of a stream.
        hold: Seconds for which the server says that it held the request before an engine had it; None where
            it says nothing.
        text: What the answer says, as far as it came.
        error: What kind of failure the answer is, in a few words; None while it is none.
        reason: What the server said of it, or "".
    """

    __slots__ = (
        "_ended",
        "_rest",
        "_streamed",
        "_texts",
        "error",
        "events",
        "first",
        "gaps",
        "hold",
        "input_tokens",
        "last",
        "output_tokens",
        "reason",
    )

    def __init__(self, *, streamed: bool) -> None:
        self._streamed = streamed
        self._rest = b""
        self._ended = False
        self._texts: list[str] = []
        self.first: float | None = None
        self.last = 0.0
        self.gaps: list[float] = []
        self.events = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.hold: float | None = None
        self.error: str | None = None
        self.reason = ""

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def take_hold(self, timing: bytes) -> None:
        """Take what a server says of its times: a header, or a comment of a stream."""
        found = hold_of(timing)
        if found is not None:
            self.hold = (self.hold or 0.0) + found

    def feed(self, status: int, data: bytes, now: float) -> None:
        """Take a piece of the body."""
        if status != 200 or not self._streamed:
            self._keep(self._rest + data)
            return
        lines = (self._rest + data).split(b"\n")
        self._keep(lines.pop())
        for line in lines:
            if line.startswith(b"data:"):
                self._take_event(line[5:].strip(), now)
            elif line.startswith(COMMENT):
                self.take_hold(line)

    def finish(self, status: int) -> None:
        """Take the end of the body."""
        if status != 200:
            self._fail(*_refusal(status, self._rest))
        elif not self._streamed:
            self._take(self._rest)
        elif not self._ended:
            self._fail("stream cut short")
        if self._streamed and not self.output_tokens:
            self.output_tokens = self.events

    def _keep(self, rest: bytes) -> None:
        self._rest = rest
        if len(rest) > LARGEST:
            self._fail("answer too long")
            self._rest = b""

    def _take_event(self, data: bytes, now: float) -> None:
        if data == b"[DONE]":
            self._ended = True
            return
        if not self._take(data):
            return
        if self.first is None:
            self.first = now
        else:
            self.gaps.append(now - self.last)
        self.last = now
        self.events += 1

    def _take(self, data: bytes) -> bool:
        """Take an object of the API; return whether there are tokens in it."""
        try:
            document = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._fail("malformed answer", _shown(data))
            return False
        if document.usage is not None:
            self.input_tokens = document.usage.prompt_tokens
            self.output_tokens = document.usage.completion_tokens
        if document.error is not None:
            self._fail("error in the stream" if self._streamed else "error", _said(document.error)[1])
        found = False
        for choice in document.choices or ():
            delta = choice.delta or choice.message
            text = delta.text if delta is not None else choice.text
            if text:
                found = True
                if isinstance(text, str):
                    self._texts.append(text)
        return found

    def _fail(self, error: str, reason: str = "") -> None:
        if self.error is None:
            self.error, self.reason = error, reason


def _refusal(status: int, body: bytes) -> tuple[str, str]:
    """Return the kind of a refusal, as ``429 rate_limit_exceeded``, and its message."""
    try:
        code, message = _said(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return f"HTTP {status}", _shown(body)
    return f"HTTP {status} {code}".rstrip(), message


def _said(error: Any) -> tuple[str, str]:
    """Return the code and the message of an error of the API, in whichever form; "" for what it lacks."""
    if isinstance(error, dict) and isinstance(error.get("error"), dict):
        error = error["error"]
    if not isinstance(error, dict):
        return "", _shown(str(error).encode())
    code, message = error.get("code"), error.get("message", error.get("detail", error.get("error", "")))
    known = isinstance(code, str) and re.fullmatch(r"[A-Za-z0-9_.-]{1,60}", code)
    return str(code) if known else "", _shown(str(message).encode(errors="replace"))


def _shown(data: bytes) -> str:
    return " ".join(data[:LONGEST_REASON].decode(errors="replace").split())
