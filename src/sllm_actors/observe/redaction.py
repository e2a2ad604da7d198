"""What looks like a secret by its name, and is kept from engines, logs and views. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

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
_CREDENTIALS = re.compile(r"//[^/?#\s]*@")
_SECRET_PARTS = re.compile(r"API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|SECRET|PASSWORD|DATABASE_URL")


# Authorization, X-Api-Key, X-Auth-Token, Cookie and their like.
_CREDENTIAL = re.compile(
    r"(?:^|[-_.])(?:auth|authorization|authentication|cert|cookie2?|credentials?|jwt|key|oidc|passw(?:or)?d"
    r"|secret|signature|token|[a-z]*apikey)(?:[-_.]|$)"
)
_NO_CREDENTIALS = {"idempotency-key"}


def is_credential(name: str) -> bool:
    """Say whether a header, or a parameter of a query, of that name carries what its sender is trusted by."""
    lower = name.lower()
    return _CREDENTIAL.search(lower) is not None and lower not in _NO_CREDENTIALS


def without_secrets(env: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what is ours or looks like a secret."""
    return {name: value for name, value in env.items() if not looks_secret(name)}


def without_credentials(url: str) -> str:
    """Return an address with the name and password that may be in it masked."""
    return _CREDENTIALS.sub("//***@", url, count=1)


def looks_secret(name: str) -> bool:
    """Return whether a variable of that name is ours or looks like a secret."""
    upper = name.upper()
    return (
        upper.startswith("SLLM_")
        or not _SECRET_WORDS.isdisjoint(upper.split("_"))
        or _SECRET_PARTS.search(upper) is not None
    )
