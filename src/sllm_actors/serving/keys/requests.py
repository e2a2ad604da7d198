"""What people ask of the head about API keys: how it changes them, and the answer. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from attrs import evolve, frozen

from sllm_actors.serving import answers
from sllm_actors.serving.journal.noted import Noted
from sllm_actors.serving.messages import ControlAnswer, Done, Refusal, RefusalKind
from sllm_actors.serving.store.records import ApiKeyRecord
from sllm_actors.serving.store.writes import DropApiKey, PutApiKey

from .messages import ADMIN, CreateKey, DeleteKey, KeyRequest, ListKeys, UpdateKey

MOST_KEYS: Final = 1_000
"""Keys that there may be."""

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
"""The names that a key may have, but for ``ADMIN``."""

LEAST_SHARE: Final = 0.001
MOST_SHARE: Final = 1_000.0


@frozen
class KeyChange:
    """A change that is to be written, and then to be published.

    Attributes:
        name: The key that it changes: nothing else is decided about it meanwhile.
        write: For the store.
        noted: For the journal, after that.
        answer: For who asked, after that.
    """

    name: str
    write: PutApiKey | DropApiKey
    noted: Noted
    answer: Done


def decide(
    known: Mapping[str, ApiKeyRecord], request: KeyRequest, wall: float, *, adding: int = 0
) -> KeyChange | ControlAnswer:
    """Return the answer at once, or what is to be changed first.

    Args:
        known: The keys, by name.
        request: What is asked.
        wall: Seconds since the epoch.
        adding: How many more are just being added.
    """
    match request:
        case CreateKey():
            return _create(known, request, wall, adding)
        case UpdateKey(name, share):
            if name not in known:
                return _unknown(name)
            return _share_problem(share) or _update(known[name], share)
        case DeleteKey(name):
            if name not in known:
                return _unknown(name)
            sentence = f"the key {name} is deleted: gateways refuse it from now on"
            answer = answers.done({"name": name, "message": sentence})
            return KeyChange(name, DropApiKey(name), Noted(name, "key.deleted", sentence), answer)
        case ListKeys():
            return answers.done({"keys": [_shown(known[name]) for name in sorted(known)]})


def _create(
    known: Mapping[str, ApiKeyRecord], request: CreateKey, wall: float, adding: int
) -> KeyChange | ControlAnswer:
    name = request.name
    if NAME.fullmatch(name) is None:
        sentence = (
            "the name of a key has 1 to 64 letters, digits, dots, hyphens and underscores, and begins with a"
            f" letter or digit: {name[:64]!r} is none"
        )
        return Refusal(RefusalKind.INVALID, "invalid_name", sentence, "name")
    if name == ADMIN:
        sentence = f"the head's own key is called {ADMIN}: choose another name"
        return Refusal(RefusalKind.CONFLICT, "key_exists", sentence, "name")
    if name in known:
        sentence = f"there is a key {name} already: choose another name, or delete that one first"
        return Refusal(RefusalKind.CONFLICT, "key_exists", sentence, "name")
    if (problem := _share_problem(request.share)) is not None:
        return problem
    if len(known) + adding >= MOST_KEYS:
        sentence = f"there are {MOST_KEYS} keys, and there may be no more: delete one that nobody uses first"
        return Refusal(RefusalKind.CONFLICT, "too_many_keys", sentence)
    sentence = f"the key {name} is made, with the share {request.share:g}"
    return _put(ApiKeyRecord(name, request.digest, request.share, wall), Noted(name, "key.created", sentence))


def _update(record: ApiKeyRecord, share: float) -> KeyChange:
    sentence = f"the key {record.name} has the share {share:g} from now on, and had {record.share:g}"
    return _put(evolve(record, share=share), Noted(record.name, "key.changed", sentence))


def _put(record: ApiKeyRecord, noted: Noted) -> KeyChange:
    return KeyChange(record.name, PutApiKey(record), noted, answers.done(_shown(record)))


def _shown(record: ApiKeyRecord) -> dict[str, Any]:
    return {"name": record.name, "share": record.share, "created": record.created}


def _share_problem(share: float) -> Refusal | None:
    if LEAST_SHARE <= share <= MOST_SHARE:
        return None
    sentence = f"the share of a key is a number from {LEAST_SHARE:g} to {MOST_SHARE:g}, not {share:g}"
    return Refusal(RefusalKind.INVALID, "invalid_share", sentence, "share")


def _unknown(name: str) -> Refusal:
    sentence = f"there is no key {name[:64]}: `sllm keys list` lists them"
    return Refusal(RefusalKind.UNKNOWN, "key_not_found", sentence)
