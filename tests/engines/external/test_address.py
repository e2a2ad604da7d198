"""The address of a server as people write it: mended, or refused in one sentence that keeps secrets."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.engines.external import AddressProblem, server_url


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("http://a:8000", "http://a:8000"),
        ("  http://a:8000\n", "http://a:8000"),
        ("\thttp://a:8000/\r\n", "http://a:8000"),
        ("http://a:8000/v1", "http://a:8000"),
        ("http://a:8000/v1/", "http://a:8000"),
        ("http://a:8000/v1/chat/completions", "http://a:8000"),
        ("http://a:8000/v1/chat/completions/", "http://a:8000"),
        ("http://a:8000/v1/models", "http://a:8000"),
        ("https://openrouter.example/api/v1/completions", "https://openrouter.example/api"),
        ("https://a/openai/v1", "https://a/openai"),
        ("HTTP://A.Example:80/V", "http://a.example:80/V"),
        ("http://[::1]:8000/v1", "http://[::1]:8000"),
        ("http://[0:0:0:0:0:0:0:1]", "http://[::1]"),
        ("http://bücher.example/v1", "http://xn--bcher-kva.example"),
        ("http://engine_1:8000", "http://engine_1:8000"),
        ("http://a/some%20where", "http://a/some%20where"),
    ],
)
def test_what_people_write_is_mended(written: str, meant: str) -> None:
    assert server_url(written) == meant


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("", "an address is empty"),
        (" \n ", "an address is empty"),
        ("a:8000", "'a:8000' has no http:// or https:// before it"),
        ("localhost:8000/v1", "has no http:// or https:// before it"),
        ("api.example.com/v1", "has no http:// or https:// before it"),
        ("//a:8000", "has no http:// or https:// before it"),
        ("http:a", "has no http:// or https:// before it"),
        ("ftp://a", "'ftp://a' is not an http:// or https:// address"),
        ("unix:///run/a.sock", "is not an http:// or https:// address"),
        ("http://", "it needs a host"),
        ("http:///v1", "it needs a host"),
        ("http://<host>:8000", "it needs a host"),
        ("http://" + "ü" * 80, "it needs a host"),
        ("http://a:x", "its host or port makes no sense"),
        ("http://a:0", "its host or port makes no sense"),
        ("http://a:99999", "its host or port makes no sense"),
        ("http://[a", "its host or port makes no sense"),
        ("http://[1:2]", "its host"),
        ("http://[v1.a:b]", "its host makes no sense"),
        ("http://a\n/v1", "has a blank or a control character in it"),
        ("http://a:9\x00", "has a blank or a control character in it"),
        ("http://a b", "has a blank or a control character in it"),
        ("http://a\u200b:8000", "has a blank or a control character in it"),
        ("http://a?b=1", "has a ? or # in it"),
        ("http://a#", "has a ? or # in it"),
        ("http://a/ä", "must be written with %"),
        ("http://a\\b", "must be written with %"),
        ("http://a/" + "x" * 3000, "has more than 2048 characters"),
    ],
)
def test_what_cannot_be_mended_without_a_guess_is_refused_by_name(written: str, why: str) -> None:
    with pytest.raises(AddressProblem) as found:
        server_url(written)
    assert why in str(found.value)
    assert len(str(found.value)) < 300
    assert str(found.value).isprintable()


@pytest.mark.parametrize(
    "written",
    [
        "http://u:hunter2@a/v1",
        "http://hunter2@a",
        "https://a/v1?key=hunter2",
        "a/@hunter2@b",
        "http://a#hunter2",
    ],
)
def test_no_sentence_repeats_a_secret_of_an_address(written: str) -> None:
    with pytest.raises(AddressProblem) as found:
        server_url(written)
    assert "hunter2" not in str(found.value)


@given(st.text(max_size=40) | st.text("htps:/[]@?#.%v1 \n\\aä0", max_size=40).map("http://".__add__))
def test_any_text_is_mended_to_a_fixed_point_or_refused_in_one_sentence(text: str) -> None:
    try:
        url = server_url(text)
    except AddressProblem as problem:
        sentence = str(problem)
    else:
        assert url == server_url(url)
        assert url.isascii()
        assert url.isprintable()
        assert urlsplit(url).scheme in ("http", "https")
        assert not url.endswith("/")
        return
    assert 0 < len(sentence) < 300
    assert sentence.isprintable()
