"""Answering questions for the journal: from memory, from the store in a thread, or when something comes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import anyio
from anyio import to_thread
from attrs import evolve, frozen

from sllm_actors.actors import Context, Reply

from . import answers
from .find_node import find_node
from .journal.journal import Journal, JournalPage, joined
from .journal.kinds import FAMILIES, MEANINGS
from .messages import ControlAnswer, Refusal, RefusalKind
from .picture.picture import Picture
from .store.journal_filter import JournalFilter
from .store.problem import StoreProblem
from .store.records import JournalEntry
from .store.store import Store
from .views.events import events_answer
from .views.messages import MAX_LIMIT, AwaitEvents, DescribeEvents, JournalQuestion

MOST_WAITING: Final = 256
"""Questions that wait for entries. One more is answered at once, though there are none."""

MOST_READING: Final = 16
"""Questions for which the store is read, or is to be. One more is refused."""

LONGEST_WAIT: Final = 30.0
"""Seconds that a question waits at most."""


@frozen
class _Waiting:
    question: DescribeEvents
    wanted: JournalFilter
    until: float
    reply: Reply


class JournalQuestions:
    """What is asked of the journal. For the turns of the head's actor.

    Args:
        context: The actor's.
        store: The open store.
        journal: The newest entries.
        picture: Knows the names of nodes.
    """

    def __init__(self, context: Context, store: Store, journal: Journal, picture: Picture) -> None:
        self._context = context
        self._store = store
        self._journal = journal
        self._picture = picture
        self._waiting: list[_Waiting] = []
        self._turn = anyio.Lock()  # a full journal is read by one thread at a time
        self._reading = 0

    def take(self, question: JournalQuestion) -> ControlAnswer | None:
        """Answer a question, at once or later."""
        if isinstance(question, AwaitEvents):
            return self._take(question.events, min(question.seconds, LONGEST_WAIT))
        return self._take(question, 0.0)

    def _take(self, question: DescribeEvents, seconds: float) -> ControlAnswer | None:
        refusal = _wrong(question)
        if refusal is not None:
            return refusal
        about = self._about(question.subject)
        if isinstance(about, Refusal):
            return about
        wanted = JournalFilter(about, question.kind)
        page = self._journal.page(question.limit, question.after, wanted)
        if page.older:
            return self._read(question, wanted, page)
        if page.entries or seconds <= 0 or len(self._waiting) >= MOST_WAITING:
            return self._answer(question, wanted, page)
        if (unknown := self._unknown(question, wanted)) is not None:
            return unknown
        until = self._context.now() + seconds
        after = evolve(question, after=page.until)
        self._waiting.append(_Waiting(after, wanted, until, self._context.reply_later()))
        return None

    def noted(self, entries: Sequence[JournalEntry]) -> None:
        """Answer the questions that have waited for these entries."""
        if not self._waiting or not entries:
            return
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if any(map(each.wanted.passes, entries)):
                self._send(each)
            else:
                self._waiting.append(each)

    def tick(self, now: float) -> None:
        """Answer the questions that have waited for long enough."""
        over = [each for each in self._waiting if each.until <= now]
        if over:
            self._waiting = [each for each in self._waiting if each.until > now]
            for each in over:
                self._send(each)

    def _send(self, waiting: _Waiting) -> None:
        question = waiting.question
        page = self._journal.page(question.limit, question.after, waiting.wanted)
        waiting.reply.send(events_answer(page))

    def _answer(self, question: DescribeEvents, wanted: JournalFilter, page: JournalPage) -> ControlAnswer:
        unknown = None if page.entries else self._unknown(question, wanted)
        return events_answer(page) if unknown is None else unknown

    def _about(self, subject: str) -> str | Refusal:
        """Return the id of the node that has a name, or else the name itself."""
        nodes = self._picture.fleet.nodes
        if not subject or subject in nodes or subject in self._picture.catalogue.by_id:
            return subject
        found = find_node({each.id: each.name for each in nodes.values()}, subject)
        return subject if isinstance(found, Refusal) and found.kind is RefusalKind.UNKNOWN else found

    def _unknown(self, question: DescribeEvents, wanted: JournalFilter) -> Refusal | None:
        """Return the refusal of a question about something that is not there; None if it is, or was."""
        subject, catalogue = wanted.subject, self._picture.catalogue
        if (
            question.after
            or not subject
            or subject in self._picture.fleet.nodes
            or subject in catalogue.by_id
        ):
            return None
        first = next(catalogue.after(f"{subject}:"), None)
        if first is not None and first.spec.model == subject:
            return None
        sentence = (
            f"there is no deployment, model or node {subject[:300]!r}, and nothing in the journal about one"
        )
        return Refusal(RefusalKind.UNKNOWN, "not_found", sentence, "subject")

    def _read(
        self, question: DescribeEvents, wanted: JournalFilter, page: JournalPage
    ) -> ControlAnswer | None:
        if self._reading >= MOST_READING:
            sentence = "the journal is being read for many others: ask again in a moment"
            return Refusal(RefusalKind.UNAVAILABLE, "journal_busy", sentence, retry_after=1.0)
        self._reading += 1
        self._context.start_soon(
            self._read_store, question, wanted, page, self._journal.kept_after, self._context.reply_later()
        )
        return None

    async def _read_store(
        self, question: DescribeEvents, wanted: JournalFilter, page: JournalPage, until: int, reply: Reply
    ) -> None:
        limit = question.limit + (question.after is not None)

        def read() -> list[JournalEntry]:
            return self._store.journal(limit, after=question.after, until=until, wanted=wanted)

        try:
            async with self._turn:
                stored = await to_thread.run_sync(read)
        except StoreProblem as problem:
            reply.send(answers.store_away(str(problem)))
            return
        finally:
            self._reading -= 1
        reply.send(self._answer(question, wanted, joined(question.limit, question.after, stored, page)))


def _wrong(question: DescribeEvents) -> Refusal | None:
    param, sentence = "", ""
    if not 1 <= question.limit <= MAX_LIMIT:
        param, sentence = "limit", f"limit must be from 1 to {MAX_LIMIT}, not {question.limit}"
    elif question.kind and question.kind not in MEANINGS and question.kind not in FAMILIES:
        families = f"{', '.join(FAMILIES[:-1])} or {FAMILIES[-1]}"
        param = "kind"
        sentence = (
            f"kind must be {families}, or one of their kinds as replica.placed, not {question.kind[:40]!r}"
        )
    return Refusal(RefusalKind.INVALID, "invalid_parameter", sentence, param) if param else None
