"""What a cluster is known by is made once, kept private, and never shown."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from sllm_actors.cluster.secret import SecretProblem, admin_key, find_secret, make_credentials


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLLM_CLUSTER_SECRET", raising=False)


def test_credentials_are_made_once_in_private_files(tmp_path: Path) -> None:
    made = make_credentials(tmp_path / "data", None)
    assert make_credentials(tmp_path / "data", None) == made
    assert find_secret(tmp_path / "data", None) == made.secret
    assert admin_key(tmp_path / "data") == made.admin_key
    assert len(made.secret) >= 32
    for file in (tmp_path / "data").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert make_credentials(tmp_path / "other", None).secret != made.secret


def test_an_administrators_key_is_made_where_nothing_is_yet(tmp_path: Path) -> None:
    key = admin_key(tmp_path / "new" / "data")
    assert admin_key(tmp_path / "new" / "data") == key
    assert stat.S_IMODE((tmp_path / "new" / "data").stat().st_mode) == 0o700
    (tmp_path / "file").write_text("")
    with pytest.raises(SecretProblem, match=r"file/data cannot be used \(.*\): .* --data-dir"):
        admin_key(tmp_path / "file" / "data")


def test_no_secret_is_shown(tmp_path: Path) -> None:
    made = make_credentials(tmp_path, None)
    assert made.secret.decode() not in repr(made)
    assert made.admin_key not in repr(made)


def test_a_named_file_wins_over_the_variable_and_that_over_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = make_credentials(tmp_path, None).secret
    assert find_secret(tmp_path, None) == kept
    monkeypatch.setenv("SLLM_CLUSTER_SECRET", " the secret of the variable ")
    assert find_secret(tmp_path, None) == b"the secret of the variable"
    assert make_credentials(tmp_path, None).secret == b"the secret of the variable"
    named = tmp_path / "named"
    named.write_text("the secret of the file\n")
    assert find_secret(tmp_path, named) == b"the secret of the file"


def test_no_secret_says_where_one_is(tmp_path: Path) -> None:
    with pytest.raises(SecretProblem, match=r"no cluster secret: .*--secret-file"):
        find_secret(tmp_path, None)
    with pytest.raises(SecretProblem, match=r"secret file .*nowhere cannot be read"):
        find_secret(tmp_path, tmp_path / "nowhere")


def test_a_short_secret_is_refused_without_being_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLLM_CLUSTER_SECRET", "hunter2")
    with pytest.raises(SecretProblem, match="too short") as refused:
        find_secret(tmp_path, None)
    assert "hunter2" not in str(refused.value)


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SecretProblem, match="data directory"):
        make_credentials(tmp_path / "file", None)
