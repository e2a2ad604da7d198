"""The list of what the journal tells is closed, and each kind has its meaning."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from sllm_actors.serving.journal.kinds import FAMILIES, MEANINGS, EventKind


def test_each_kind_has_a_meaning_in_one_sentence() -> None:
    assert list(MEANINGS) == list(get_args(EventKind))
    for kind, meaning in MEANINGS.items():
        family, _, what = kind.partition(".")
        assert family in FAMILIES
        assert what.isidentifier()
        assert meaning[0].isupper()
        assert meaning.endswith(".")
        assert ". " not in meaning


def test_the_page_about_the_head_has_each_kind_with_its_meaning() -> None:
    page = (Path(__file__).parents[3] / "docs" / "head.md").read_text()
    section = page.partition("## The journal")[2].partition("\n## ")[0]
    assert dict(re.findall(r"^\| `([a-z_.]+)` \| (.*) \|$", section, re.MULTILINE)) == MEANINGS


def test_each_kind_is_noted_somewhere() -> None:
    source = Path(__file__).parents[3] / "src" / "sllm_actors" / "serving"
    files = [path for path in source.rglob("*.py") if path.name != "kinds.py"]
    written = "".join(path.read_text() for path in files)
    assert {kind for kind in MEANINGS if f'"{kind}"' not in written} == set()
