"""What reaches a terminal of a text that somebody else wrote."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.observe.terminal_text import LONGEST_SEQUENCE, TerminalFilter, one_line, printable

PIECES = [
    *("\x1b", "[", "]", "0;t", "31", "m", "(", "B", "\\", "\x07", "\x9b", "\x9c", "\x9d", "\x90", "\x1b[31m"),
    *("\x1b]0;title\x07", "\x1b]8;;x\x1b\\", "\r", "\n", "\t", "a", "\u202e", "\u2028", "\ud800", "\x00"),
    *("x" * LONGEST_SEQUENCE, "1" * LONGEST_SEQUENCE),
]
pieces = st.lists(st.sampled_from(PIECES) | st.characters())
texts = pieces.map("".join)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\x1b[1;36mINFO\x1b[0;0m ok", "INFO ok"),
        ("a\x1b]0;title\x07b\x1b]8;;http://x\x1b\\link", "ablink"),
        ("\x1bP1$r0m\x1b\\q", "q"),
        ("\x9b2Jcleared\x9d2;t\x9c.", "cleared."),
        ("\x1bcreset\x1b(Bascii", "resetascii"),
        ("10%\r20%\r\ndone\n", "10%\n20%\ndone\n"),
        ("safe\b\b\b\bevil\x00\x7f\x85\tx", "safeevil\tx"),
        ("user\u202enimda\u202c \u2066x\u2069", "usernimda x"),
        ("a\u2028b", "a\nb"),
        ("half \ud83d pair", "half � pair"),
        ("שלום \u200fعربي 👩\u200d🚀", "שלום \u200fعربي 👩\u200d🚀"),
        ("\x1b]0;never ended\nnext line", "0;never ended\nnext line"),
        ("\x1b]" + "x" * (LONGEST_SEQUENCE + 1) + "\x07", "x" * (LONGEST_SEQUENCE + 1)),
        ("cut off \x1b[3", "cut off 3"),
    ],
)
def test_what_steers_a_terminal_is_dropped_and_the_text_stays(written: str, shown: str) -> None:
    assert printable(written) == shown


@given(texts)
def test_nothing_but_text_newlines_and_tabs_is_left(text: str) -> None:
    shown = printable(text)
    assert {
        character for character in shown if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    } <= {
        "\n",
        "\t",
    }
    assert not set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069") & set(shown)
    assert printable(shown) == shown


@given(pieces)
def test_where_a_text_is_cut_makes_no_difference(cut: list[str]) -> None:
    filtered = TerminalFilter()
    shown = "".join(filtered.feed(piece) for piece in cut) + filtered.feed("", last=True)
    assert shown == printable("".join(cut))


@given(texts)
def test_what_is_kept_back_has_a_bound(text: str) -> None:
    filtered = TerminalFilter()
    filtered.feed(text)
    assert len(filtered.feed("", last=True)) <= 2 * LONGEST_SEQUENCE + 4


def test_a_line_stays_one_line() -> None:
    assert one_line("a\nb\tc\r\nd") == "a b c d"
