"""The files of a cluster on the head's machine: its id, the secret of its nodes, the key that signs their
credentials, its administrator's key."""

from __future__ import annotations

import codecs
import os
import re
import secrets
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from attrs import field, frozen

from sllm_actors.files import FileProblem, make_private_folder, read_bytes, write_whole
from sllm_actors.transport import KeyPair

from .home import SetupProblem
from .key_files import read_or_make_key

SECRET_FILE = "secret"  # noqa: S105 - the file's name
HEAD_KEY_FILE = "head.key"
ADMIN_KEY_FILE = "admin-key"
CLUSTER_FILE = "cluster-id"
SECRET_VARIABLE = "SLLM_CLUSTER_SECRET"  # noqa: S105 - the variable's name

_MADE = {"sllm-secret-": 12 + 43, "sllm-admin-": 11 + 32, "cluster-": 8 + 16}
"""How what is made here begins, and how many characters it has. A person may have put other things there."""

_MIN_SECRET = 16
_MAX_FILE = 1024


class SecretProblem(SetupProblem):
    """There is no usable secret; one sentence says what to do."""


@frozen
class ClusterKeys:
    """A cluster's id and secrets.

    Attributes:
        cluster: The cluster's id; no secret.
        secret: Required from every node.
        admin_key: Required from whoever controls the cluster over a network.
    """

    cluster: str
    secret: bytes = field(repr=False)
    admin_key: str = field(repr=False)


def make_credentials(data_dir: Path, secret_file: Path | None) -> ClusterKeys:
    """Return the cluster's credentials, making what is not there yet (files of mode 0600).

    Raises:
        SecretProblem: A file cannot be read or written, or the secret that was given is too short.
    """
    given = _given_secret(secret_file)
    _make(data_dir)
    secret = given or _kept(
        data_dir / SECRET_FILE,
        f"sllm-secret-{secrets.token_urlsafe(32)}",
        _no_secret,
        "put back the secret that the other nodes have, or remove the file to have a new one made for all",
    )
    cluster = _kept(
        data_dir / CLUSTER_FILE,
        f"cluster-{secrets.token_hex(8)}",
        _no_cluster,
        "put back the id, which is in the file cluster.json of each of its nodes",
    )
    return ClusterKeys(cluster, _bytes(secret), admin_key(data_dir))


def admin_key(data_dir: Path) -> str:
    """Return the administrator's key that is kept in this directory, making it where there is none.

    Raises:
        SecretProblem: The key's file cannot be read or written, or holds no key.
    """
    _make(data_dir)
    return _kept(
        data_dir / ADMIN_KEY_FILE,
        f"sllm-admin-{secrets.token_urlsafe(24)}",
        _no_key,
        "put back what was there, or remove the file to have a new key made",
    )


def head_key(data_dir: Path) -> tuple[KeyPair, bool]:
    """Return the key that signs the credentials of nodes, and whether it was made now. Blocks.

    Raises:
        SecretProblem: The key's file cannot be read or written, or holds no key.
    """
    path = data_dir / HEAD_KEY_FILE
    try:
        return read_or_make_key(
            path,
            "put back what was there, or move the file away to have a new key made, "
            "which each node believes once it was started with --trust-new-head",
        )
    except FileProblem as problem:
        raise SecretProblem(f"the head's key cannot be used: {problem}") from None
    except OSError as error:
        raise SecretProblem(f"the head's key {path} cannot be written: {error.strerror}") from None


def find_secret(data_dir: Path, secret_file: Path | None) -> bytes:
    """Return the secret of a cluster to join: from the file that was named, the environment, or the directory
    that the head of the same user on the same machine keeps.

    Raises:
        SecretProblem: There is none.
    """
    given = _given_secret(secret_file)
    if given is not None:
        return _bytes(given)
    kept = _read(data_dir / SECRET_FILE, _no_secret, "put back the secret of the cluster")
    if kept is None:
        raise SecretProblem(
            "this node has no cluster secret: copy the file "
            f"{SECRET_FILE!r} of the head's data directory here and name it with --secret-file, "
            f"or set {SECRET_VARIABLE}"
        )
    return _bytes(kept)


def _make(data_dir: Path) -> None:
    """Make the data directory if it is not there: it may be a machine's first start."""
    try:
        make_private_folder(data_dir)
    except OSError as error:
        raise SecretProblem(
            f"the data directory {data_dir} cannot be used ({error.strerror}): choose another with --data-dir"
        ) from None


def _given_secret(secret_file: Path | None) -> str | None:
    if secret_file is not None:
        given = _read(secret_file, _no_secret, "name the file of the cluster's secret with --secret-file")
        if given is None:
            raise SecretProblem(f"the secret file {secret_file} cannot be read: there is no such file")
        return given
    value = os.environ.get(SECRET_VARIABLE, "").strip()
    if value and (why := _no_secret(value)):
        raise SecretProblem(f"the secret in {SECRET_VARIABLE} {why}")
    return value or None


def _no_secret(text: str) -> str:
    """Say why a text is no secret, or "". It is not shown."""
    if len(text) < _MIN_SECRET:
        return f"is too short: it needs {_MIN_SECRET} characters or more"
    return "has control characters in it" if _has_control(text) else ""


def _no_key(text: str) -> str:
    """Say why a text cannot be the administrator's key, which is sent in a header, or ""."""
    plain = text.isascii() and text.isprintable() and " " not in text
    return "" if plain else "holds no key: a key has visible ASCII characters only, and no space"


def _no_cluster(text: str) -> str:
    """Say why a text cannot be a cluster's id, or ""."""
    return "" if re.fullmatch(r"[\w.-]{1,128}", text, re.ASCII) else "holds no cluster's id"


def _has_control(text: str) -> bool:
    return any(unicodedata.category(letter) == "Cc" for letter in text)


def _read(path: Path, no: Callable[[str], str], remedy: str) -> str | None:
    """Return what a file holds, or None where there is none.

    Raises:
        SecretProblem: ``no`` says why it cannot be that, or it cannot be read.
    """
    try:
        data = read_bytes(path, _MAX_FILE)
    except FileProblem as problem:
        raise SecretProblem(f"{problem}: {remedy}") from None
    if data is None:
        return None
    # As the environment is read: the same text is the same secret, wherever it comes from.
    text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape").strip()
    if why := "is empty" if not text else "is cut short" if _is_cut(text) else no(text):
        raise SecretProblem(f"{path} {why}: {remedy}")
    return text


def _is_cut(text: str) -> bool:
    """Say whether it begins like what we make, and is shorter."""
    return any(text.startswith(prefix) and len(text) < length for prefix, length in _MADE.items())


def _kept(path: Path, fresh: str, no: Callable[[str], str], remedy: str) -> str:
    """Return what a file holds; where there is none, make it: with others at the same time, once."""
    try:
        kept = _read(path, no, remedy)
        if kept is None:
            with suppress(FileExistsError):
                write_whole(path, fresh + "\n", durable=True, replace=False)
            kept = _read(path, no, remedy)
    except OSError as error:
        raise SecretProblem(f"{path} cannot be written: {error.strerror}") from None
    return kept or fresh


def _bytes(secret: str) -> bytes:
    return secret.encode("utf-8", "surrogateescape")
