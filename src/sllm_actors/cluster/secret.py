"""What a cluster is known by: its id, the secret of its nodes, and the key of its administrator."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from attrs import field, frozen

from .home import SetupProblem, write_private

SECRET_FILE = "secret"  # noqa: S105 - the file's name
ADMIN_KEY_FILE = "admin-key"
CLUSTER_FILE = "cluster-id"
SECRET_VARIABLE = "SLLM_CLUSTER_SECRET"  # noqa: S105 - the variable's name

_MIN_SECRET = 16
_MAX_FILE = 4096


class SecretProblem(SetupProblem):
    """There is no usable secret; one sentence says what to do."""


@frozen
class ClusterKeys:
    """What the head's machine keeps for the cluster.

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
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        secret = given or _kept_secret(data_dir / SECRET_FILE)
        cluster = _kept(data_dir / CLUSTER_FILE, f"cluster-{secrets.token_hex(8)}")
    except OSError as error:
        raise SecretProblem(f"the data directory {data_dir} cannot be used: {error.strerror}") from None
    return ClusterKeys(cluster, _bytes(secret), admin_key(data_dir))


def admin_key(data_dir: Path) -> str:
    """Return the administrator's key that is kept in this directory, making it where there is none.

    Raises:
        SecretProblem: It cannot be read or written.
    """
    try:
        return _kept(data_dir / ADMIN_KEY_FILE, f"sllm-admin-{secrets.token_urlsafe(24)}")
    except OSError as error:
        raise SecretProblem(f"the data directory {data_dir} cannot be used: {error.strerror}") from None


def find_secret(data_dir: Path, secret_file: Path | None) -> bytes:
    """Return the secret of a cluster to join: from the file that was named, the environment, or the directory
    that the head of the same user on the same machine keeps.

    Raises:
        SecretProblem: There is none.
    """
    given = _given_secret(secret_file)
    if given is not None:
        return _bytes(given)
    try:
        return _bytes(_checked(_read(data_dir / SECRET_FILE), str(data_dir / SECRET_FILE)))
    except FileNotFoundError:
        raise SecretProblem(
            "this node has no cluster secret: copy the file "
            f"{SECRET_FILE!r} of the head's data directory here and name it with --secret-file, "
            f"or set {SECRET_VARIABLE}"
        ) from None
    except OSError as error:
        raise SecretProblem(f"the secret in {data_dir} cannot be read: {error.strerror}") from None


def _given_secret(secret_file: Path | None) -> str | None:
    if secret_file is not None:
        try:
            return _checked(_read(secret_file), str(secret_file))
        except OSError as error:
            raise SecretProblem(f"the secret file {secret_file} cannot be read: {error.strerror}") from None
    value = os.environ.get(SECRET_VARIABLE, "").strip()
    return _checked(value, SECRET_VARIABLE) if value else None


def _checked(secret: str, where: str) -> str:
    if len(secret) < _MIN_SECRET:
        raise SecretProblem(f"the secret in {where} is too short: it needs {_MIN_SECRET} characters or more")
    return secret


def _read(path: Path) -> str:
    # As the environment is read: the same text is the same secret, wherever it comes from.
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        return file.read(_MAX_FILE).strip()


def _bytes(secret: str) -> bytes:
    return secret.encode("utf-8", "surrogateescape")


def _kept_secret(path: Path) -> str:
    return _checked(_kept(path, secrets.token_urlsafe(32)), str(path))


def _kept(path: Path, fresh: str) -> str:
    try:
        return _read(path) or _write(path, fresh)
    except FileNotFoundError:
        return _write(path, fresh)


def _write(path: Path, text: str) -> str:
    write_private(path, text + "\n")
    return text
