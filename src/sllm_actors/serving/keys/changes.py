"""The head's API keys: changed on demand, written first, then published and noted in the journal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from attrs import frozen

from sllm_actors.actors import Context, Reply
from sllm_actors.serving import answers
from sllm_actors.serving.journal.noted import Noted
from sllm_actors.serving.messages import ControlAnswer
from sllm_actors.serving.store.problem import StoreProblem
from sllm_actors.serving.store.records import ApiKeyRecord
from sllm_actors.serving.store.writer import StoreWriter
from sllm_actors.serving.store.writes import PutApiKey

from .messages import KeyRequest, KnownKey, ListKeys
from .requests import KeyChange, decide


@frozen
class KeyCommitted:
    """A change of a key is on disk, or ``problem`` says why not; who asked for it waits for ``reply``."""

    change: KeyChange
    reply: Reply
    problem: str = ""


class KeyChanges:
    """The keys, and what people have asked of them. For the turns of the head's actor.

    While a key is being written, a second request that would change it is refused: of two that add a key of
    one name, one adds it.

    Args:
        context: The actor's: it has to pass ``KeyCommitted`` to ``go_on``.
        records: The keys as the store has them.
        writer: Writes changes.
        publish: Tells gateways of keys that are new or have changed, and of names whose keys are gone.
        note: Adds to the journal.
    """

    def __init__(
        self,
        context: Context,
        records: Iterable[ApiKeyRecord],
        writer: StoreWriter,
        publish: Callable[[Iterable[KnownKey], Iterable[str]], None],
        note: Callable[[Iterable[Noted]], None],
    ) -> None:
        self._context = context
        self._known = {each.name: each for each in records}
        self._writing: dict[str, KeyChange] = {}
        self._writer = writer
        self._publish = publish
        self._note = note
        publish(map(_published, self._known.values()), ())

    def take(self, request: KeyRequest) -> ControlAnswer | None:
        """Begin to carry out a request; return the answer if that is all, else answer later."""
        if not isinstance(request, ListKeys) and request.name in self._writing:
            return answers.being_changed(f"the key {request.name}")
        adding = sum(name not in self._known for name in self._writing)
        change = decide(self._known, request, time.time(), adding=adding)
        if not isinstance(change, KeyChange):
            return change
        self._writing[change.name] = change
        self._context.start_soon(self._commit, change, self._context.reply_later())
        return None

    def go_on(self, news: KeyCommitted) -> None:
        """Let a change happen that is on disk, and answer."""
        change = news.change
        del self._writing[change.name]
        if news.problem:
            news.reply.send(answers.store_away(news.problem))
            return
        if isinstance(change.write, PutApiKey):
            self._known[change.name] = change.write.record
            self._publish((_published(change.write.record),), ())
        else:
            del self._known[change.name]
            self._publish((), (change.name,))
        self._note((change.noted,))
        news.reply.send(change.answer)

    async def _commit(self, change: KeyChange, reply: Reply) -> None:
        problem = ""
        try:
            await self._writer.commit((change.write,))
        except StoreProblem as away:
            problem = str(away)
        self._context.after(0.0, KeyCommitted(change, reply, problem))


def _published(record: ApiKeyRecord) -> KnownKey:
    return KnownKey(record.name, record.digest, record.share)
