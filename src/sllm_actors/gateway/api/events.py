"""The journal over HTTP: pages of what the head decided, and following it as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import anyio
from attrs import evolve
from quart import Quart, Response, request

from sllm_actors.api_error import ApiError
from sllm_actors.gateway import errors
from sllm_actors.observe.terminal_text import one_line
from sllm_actors.serving.messages import Done
from sllm_actors.serving.views.messages import AwaitEvents, DescribeEvents, JournalQuestion
from sllm_actors.serving.views.parameters import read_question

from .control import Control

WAIT: Final = 2.0
"""Seconds that the head keeps a question for further entries; so long a stop of the gateway may wait."""

HEARTBEAT: Final = 10.0
"""Seconds of silence after which a follower gets a comment."""

PAUSE: Final = 0.2
"""Seconds between two questions of one follower: entries that come close together go together."""

RETRY: Final = 1.0
"""Seconds after which a head that did not answer is asked again."""

MOST_FOLLOWERS: Final = 64
"""Clients that may follow the journal at one gateway."""


def serve_events(app: Quart, control: Control, is_stopping: Callable[[], bool]) -> None:
    """Add the routes of the journal.

    Args:
        app: The application.
        control: Asks the head.
        is_stopping: Whether the gateway is about to stop: then those who follow are let go.
    """
    following: set[object] = set()

    @app.get("/events")
    async def events() -> Any:
        follow = request.args.get("follow", "false")
        if follow not in ("true", "false"):
            raise errors.bad_request(f"follow must be true or false, not {follow[:40]!r}", param="follow")
        query = [(name, text) for name, text in request.args.items(multi=True) if name != "follow"]
        question = read_question(DescribeEvents, query)
        if follow == "false":
            return await control.ask(question)
        last_id = request.headers.get("Last-Event-ID", "")
        if last_id.isascii() and last_id.isdigit() and len(last_id) <= 18:
            question = evolve(question, after=int(last_id))
        if len(following) >= MOST_FOLLOWERS:
            raise errors.too_many_followers(MOST_FOLLOWERS)
        first = await ask(question)
        response = Response(counted(follow_from(question, first)), 200, _HEADERS)
        response.timeout = None  # it ends when its client leaves
        return response

    async def counted(stream: AsyncIterator[str]) -> AsyncIterator[str]:
        one = object()
        following.add(one)
        try:
            async for text in stream:
                yield text
        finally:
            following.discard(one)

    async def ask(question: JournalQuestion) -> Done:
        answer = await control.answer(question, patience=WAIT)
        if not isinstance(answer, Done):
            raise errors.head_away(f"it answered with a {type(answer).__name__}")
        return answer

    async def follow_from(question: DescribeEvents, answer: Done) -> AsyncIterator[str]:
        """Yield what the head answers with, and whatever comes behind that."""
        silent_since = anyio.current_time()
        yield ": the journal follows\n\n"
        while not is_stopping():
            page = json.loads(answer.document)
            question = evolve(question, after=page["last"])
            if page["events"]:
                silent_since = anyio.current_time()
                yield "".join(map(_event, page["events"]))
            if not answer.next:
                await anyio.sleep(PAUSE)
            try:
                answer = await ask(AwaitEvents(question, WAIT))
            except ApiError as error:
                silent_since = anyio.current_time()
                yield f": {one_line(error.message)}\n\n"
                await anyio.sleep(RETRY)
                answer = Done(_NOTHING % question.after)
            if anyio.current_time() >= silent_since + HEARTBEAT:
                silent_since = anyio.current_time()
                yield ":\n\n"


_HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}
_NOTHING: Final = '{"events":[],"last":%d,"next":null}'


def _event(entry: dict[str, Any]) -> str:
    """Return an entry as an event: with its number as id, the browser's EventSource resumes behind it."""
    return f"id: {entry['number']}\ndata: {json.dumps(entry, separators=(',', ':'))}\n\n"
