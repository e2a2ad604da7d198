"""The page of figures, and what other pages quote of them, is what the result files say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from attrs import evolve
from bench.harness.measures import Measure
from bench.harness.results import BadResults, Results, Subject, write
from bench.harness.spread import Spread
from bench.registry import BENCHMARKS, ROOT

from bench import page

WAIT = Measure("wait_p50_s", "how long", "s", higher_is_better=False)
MACHINE = {"cores": 2, "model": "m", "memory_gib": 8, "kernel": "k", "python": "3"}
FOUND = {
    "swapping": Results(
        "swapping",
        MACHINE,
        {"command": "python -m bench run swapping", "rounds": 3},
        {"wait_p50_s": WAIT},
        {
            "sllm": Subject({"wait_p50_s": Spread.of([1.0, 2.0, 4.0])}, ours=True),
            "other": Subject({"wait_p50_s": Spread.of([4.0, 8.0, 16.0])}, version="7.1"),
        },
        basis="sllm",
    )
}


def test_the_page_is_what_the_result_files_say() -> None:
    assert page.PAGE.read_text() == page.render(page.published()), "run `python -m bench page`"


@pytest.mark.slow
@pytest.mark.parametrize("path", page.quoting_pages(), ids=lambda path: path.name)
def test_a_page_quotes_figures_as_the_result_files_have_them(path: Path) -> None:
    assert path.read_text() == page.quote(path.read_text(), page.published()), "run `python -m bench page`"


def test_every_plot_of_the_page_is_there_and_small_and_none_is_left_over() -> None:
    plots = set(re.findall(r"\(plots/(.+?)\)", page.PAGE.read_text()))
    assert plots == {path.name for path in page.PLOTS.iterdir()}
    assert all((page.PLOTS / name).stat().st_size < 200_000 for name in plots)


def test_links_to_the_page_name_sections_that_it_has() -> None:
    heads = re.findall(r"^## (.+)$", page.PAGE.read_text(), re.MULTILINE)
    sections = {re.sub(r"[^\w -]", "", head).replace(" ", "-") for head in heads}
    for path in page.quoting_pages():
        assert set(re.findall(r"performance\.md#([\w-]+)", path.read_text())) <= sections, path.name


def test_a_section_says_what_was_compared_on_what_and_how_to_repeat_it() -> None:
    text = page.render(FOUND)
    for part in (
        "## swapping",
        BENCHMARKS["swapping"].question,
        "`python -m bench run swapping` on 2 cores of m, 8 GiB, Linux k, Python 3.",
        "Beside it: other 7.1.",
        "| wait_p50_s | s    | 2 ±75% | 8 ±75% (4 =) |",
        "![",
    ):
        assert part in text


def test_a_figure_and_a_quotient_are_quoted() -> None:
    quoted = "a <!-- figure: swapping other wait_p50_s -->?<!-- /figure --> b"
    assert page.quote(quoted, FOUND) == "a <!-- figure: swapping other wait_p50_s -->8<!-- /figure --> b"
    ratio = "<!-- figure: swapping other / sllm wait_p50_s -->?<!-- /figure -->"
    assert page.quote(ratio, FOUND) == ratio.replace("?", "4")


def other_took(*seconds: float) -> dict[str, Results]:
    subjects = {
        "sllm": Subject({"wait_p50_s": Spread.of([1.0] * 4)}, ours=True),
        "other": Subject({"wait_p50_s": Spread.of(seconds)}),
    }
    return {"swapping": evolve(FOUND["swapping"], subjects=subjects)}


def test_a_noisy_result_names_no_winner_on_the_page_nor_where_it_is_quoted() -> None:
    quoted = "<!-- figure: swapping other / sllm wait_p50_s -->?<!-- /figure -->"
    assert "| 5 ±0% (5) |" in page.render(other_took(5.0, 5.01, 5.0, 5.01))
    noisy = other_took(4.0, 6.0, 4.0, 6.0)
    assert "| 5 ±20% (4 to 6 ?) |" in page.render(noisy)
    assert page.quote(quoted, noisy) == quoted.replace("?", "4 to 6")


def test_one_round_alone_names_no_winner() -> None:
    once = other_took(5.0)
    assert "| 5 (5 ?) |" in page.render(once)
    with pytest.raises(page.NoSuchFigure, match=r"wait_p50_s of other / sllm in .* is of one round alone"):
        page.quote("<!-- figure: swapping other / sllm wait_p50_s --><!-- /figure -->", once)


def test_a_quoted_figure_that_no_file_has_is_named() -> None:
    gone = "<!-- figure: swapping sllm rps -->1<!-- /figure -->"
    with pytest.raises(page.NoSuchFigure, match=r"no figure rps of sllm is in bench/results/swapping\.json"):
        page.quote(gone, FOUND)


@pytest.mark.slow
def test_the_same_figures_give_the_same_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "PLOTS", tmp_path)
    page.draw(FOUND)
    first = (tmp_path / "swapping.svg").read_bytes()
    page.draw(FOUND)
    assert (tmp_path / "swapping.svg").read_bytes() == first


@pytest.mark.slow
def test_every_published_result_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "PLOTS", tmp_path)
    page.draw(page.published())
    assert {path.name for path in tmp_path.iterdir()} == {
        path.name for path in (ROOT / "docs" / "plots").iterdir()
    }


def test_a_result_of_no_benchmark_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "RESULTS", tmp_path)
    write(tmp_path / "x.json", Results("x", MACHINE, {}, {}, {}))
    with pytest.raises(BadResults, match=r"x\.json is of 'x', which is no benchmark here"):
        page.published()
