"""What is masked wherever somebody could read it."""

from __future__ import annotations

import pytest

from sllm_actors.observe.redaction import without_credentials


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://me:secret@a:1/v1", "http://***@a:1/v1"),
        ("https://token@a", "https://***@a"),
        ("http://me:p@ss@a/x@y", "http://***@a/x@y"),
        ("http://a/x@y", "http://a/x@y"),
        ("unix:/run/a@1.sock", "unix:/run/a@1.sock"),
        ("", ""),
    ],
)
def test_an_address_is_shown_without_name_and_password(address: str, shown: str) -> None:
    assert without_credentials(address) == shown
