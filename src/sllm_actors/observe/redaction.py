"""Which values are secrets, judging by their names: they are kept from engines, logs and views. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_SECRET_WORDS = {
    "AUTH",
    "AUTHORIZATION",
    "CREDENTIAL",
    "CREDENTIALS",
    "DSN",
    "PASSWD",
    "PASSWORD",
    "PASSPHRASE",
    "SECRET",
    "SECRETS",
    "TOKEN",
    "TOKENS",
}
MASK = "***"
"""Stands for a value that is not shown."""

_REFERENCES = ("_ENV", "_FILE", "_PATH")
"""How names end whose values say where a secret is, and are none themselves."""

_PLAIN = re.compile(r"[-+]?\d+(\.\d*)?|true|false|null|none|auto|", re.IGNORECASE)
"""Values that are no secrets, whatever their name is: ``max_num_batched_tokens`` is a number."""

_NAMED = re.compile(
    r"""
    (?P<before>
        (?<![\w-])
        (?:--(?P<option>[a-z][\w-]{0,63})\s+(?=[^-\s]) | -{0,2}(?P<name>[a-z][\w-]{0,63})["']?\s*[=:]\s*)
        ["']?(?:(?:Bearer|Basic)\s+)?
    )
    (?P<value>[^\s"',;}\])]+)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_CREDENTIALS = re.compile(r"//[^/?#\s]*@")
_SECRET_PARTS = re.compile(r"API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|SECRET|PASSWORD|DATABASE_URL")


# Authorization, X-Api-Key, X-Auth-Token, Cookie and their like.
_CREDENTIAL = re.compile(
    r"(?:^|[-_.])(?:auth|authorization|authentication|cert|cookie2?|credentials?|jwt|key|oidc|passw(?:or)?d"
    r"|secret|signature|token|[a-z]*apikey)(?:[-_.]|$)"
)
_NO_CREDENTIALS = {"idempotency-key"}


def is_credential(name: str) -> bool:
    """Say whether a header, or a query parameter, of that name carries a credential of its sender."""
    lower = name.lower()
    return _CREDENTIAL.search(lower) is not None and lower not in _NO_CREDENTIALS


def without_secrets(env: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without sllm's own variables (``SLLM_…``) and those that look like secrets."""
    return {name: value for name, value in env.items() if not looks_secret(name)}


def without_credentials(url: str) -> str:
    """Return an address with the name and password that may be in it masked."""
    return _CREDENTIALS.sub("//***@", url, count=1)


def looks_secret(name: str) -> bool:
    """Return whether a variable of that name is sllm's own (``SLLM_…``) or looks like a secret."""
    upper = name.upper()
    return (
        upper.startswith("SLLM_")
        or not _SECRET_WORDS.isdisjoint(upper.split("_"))
        or _SECRET_PARTS.search(upper) is not None
    )


def masked(value: Any, name: str = "") -> Any:
    """Return a JSON value with ``MASK`` for what looks like a secret in it, by its name.

    Names are keys of objects, and in texts ``--name=value``, ``NAME=value`` and ``--name value``, the last
    over two texts of a list as well. Names and passwords in addresses are masked, too.
    """
    if name and _is_secret(name) and isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else MASK
    match value:
        case dict():
            return {key: masked(item, str(key)) for key, item in value.items()}
        case list() | tuple():
            return type(value)(_masked_words(value, name))
        case str():
            return masked_text(value)
        case _:
            return value


def masked_text(text: str) -> str:
    """Return a text with ``MASK`` for what looks like a secret in it. See ``masked``."""
    return _NAMED.sub(_mask_named, _CREDENTIALS.sub("//***@", text))


def _masked_words(words: Sequence[Any], name: str) -> Iterator[Any]:
    before = name
    for word in words:
        yield masked(word, before)
        is_option = isinstance(word, str) and word.startswith("-") and "=" not in word
        before = word.lstrip("-") if is_option else name


def _mask_named(found: re.Match[str]) -> str:
    if not _is_secret(found["option"] or found["name"]) or _PLAIN.fullmatch(found["value"]):
        return found[0]
    return found["before"] + MASK


def _is_secret(name: str) -> bool:
    plain = name.replace("-", "_").upper()
    return looks_secret(plain) and not plain.endswith(_REFERENCES)
