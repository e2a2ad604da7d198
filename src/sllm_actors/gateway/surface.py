"""Which requests are for engines, and where they say which engine. Pure.

By a rule, so that what an engine offers needs no word here: everything under ``/v1/`` but the models, which
the gateway lists itself; everything under ``/v2/``; and what vLLM has beside them. What else an engine has
(to sleep, to stop, to load other weights) is for its worker only.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from urllib.parse import parse_qs, quote

from attrs import frozen

_BESIDE = (
    b"tokenize",
    b"detokenize",
    b"score",
    b"rerank",
    b"pooling",
    b"classify",
    b"generative_scoring",
    b"inference/v1/generate",
    b"cohere/v2/chat",
)

# No escapes, no dots and no empty names: a path must not mean another one to an engine.
_FOR_ENGINES = re.compile(
    rb"/(?:v1/(?!models(?:/|\Z))[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*|v2/[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*|"
    + b"|".join(_BESIDE)
    + rb")/?"
)
_COLLECTIONS = (
    b"assistants",
    b"batches",
    b"chat/completions",
    b"containers",
    b"conversations",
    b"evals",
    b"files",
    b"fine_tuning/jobs",
    b"messages/batches",
    b"responses",
    b"threads",
    b"uploads",
    b"vector_stores",
    b"videos",
)
# What follows on a collection is an id. Elsewhere, a name with a digit in it is one, made by an engine:
# operations have words.
_ID = re.compile(
    rb"/v1/(?:(?:" + b"|".join(_COLLECTIONS) + rb")/([A-Za-z0-9_-]+)"
    rb"|[a-z_]+(?:/[a-z_]+)*?/([A-Za-z_-]*[0-9][A-Za-z0-9_-]*))(?:/[A-Za-z0-9_-]+)*/?"
)
_COMMON = frozenset([b"/v1/chat/completions", b"/v1/completions", b"/v1/embeddings", b"/v1/responses"])


class ModelIn(Enum):
    """Where a request says which model it is for."""

    BODY = auto()
    """In the key ``model`` of its body, or in the field of that name of a form."""
    QUERY = auto()
    """In the parameter ``model`` of its query."""
    ID = auto()
    """Nowhere, but its path has an id of something that one replica holds."""


@frozen
class Destination:
    """What the first line of a request for an engine says.

    Attributes:
        model_in: Where it says which model it is for.
        model: The model that the query names; ``""`` if it names none.
        made: The id in the path; ``""`` if it has none, or may have none.
    """

    model_in: ModelIn
    model: str = ""
    made: str = ""


BY_BODY = Destination(ModelIn.BODY)
"""What each request says that names the model in its body."""


def destination_of(method: str, path: bytes, query: bytes) -> Destination | None:
    """Return what a request asks of engines, or None if it is not for them.

    ``POST`` is, except to what an id names; so are ``GET``, ``DELETE`` and ``POST …/cancel`` for what an id
    names, which the replica holds that made the id, and ``GET`` and ``DELETE`` with a ``model`` in the query.

    Args:
        method: The method of the request.
        path: Its path as it came, without the query.
        query: Its query as it came, without the question mark.
    """
    if method == "POST":
        if path in _COMMON:
            return BY_BODY
        if not path.rstrip(b"/").endswith(b"/cancel"):
            return BY_BODY if _FOR_ENGINES.fullmatch(path) else None
    elif method not in ("GET", "DELETE"):
        return None
    if not _FOR_ENGINES.fullmatch(path):
        return None
    model = model_in_query(query)
    found = _ID.fullmatch(path)
    made = (found[1] or found[2]).decode() if found else ""
    if model:
        return Destination(ModelIn.QUERY, model, made)
    return Destination(ModelIn.ID, made=made) if made else None


def is_for_users(path: bytes) -> bool:
    """Say whether a path is for those who use models: they send requests to these, and list them.

    Nothing under it changes what is deployed, or tells of machines.
    """
    return path.startswith((b"/v1/", b"/v2/")) or path == b"/models" or bool(_FOR_ENGINES.fullmatch(path))


def model_in_query(query: bytes) -> str:
    """Return the parameter ``model`` of a query, the last one if it comes twice, or ``""``."""
    if b"model=" not in query:
        return ""
    try:
        found = parse_qs(query.decode("latin-1"), errors="strict", max_num_fields=100).get("model", [])
    except ValueError:
        return ""
    return found[-1] if found else ""


def with_model_in_query(query: str, model: str) -> str:
    """Return a query with another value for its parameter ``model``; the others stay as they are."""
    return "&".join(
        f"model={quote(model, safe='')}" if each.startswith("model=") else each for each in query.split("&")
    )


def methods_of(path: bytes) -> tuple[str, ...]:
    """Return the methods that engines may take at a path, ``OPTIONS`` too; none if it is not for engines."""
    if not _FOR_ENGINES.fullmatch(path):
        return ()
    return ("DELETE", "GET", "OPTIONS", "POST") if _ID.fullmatch(path) else ("OPTIONS", "POST")
