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
