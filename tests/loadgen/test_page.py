"""The page of a result: whole, readable by a parser, and safe against what servers say."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from sllm_actors.loadgen import report
from sllm_actors.loadgen.figures.figures import Figures
from sllm_actors.loadgen.figures.generator_load import GeneratorLoad
from sllm_actors.loadgen.page import page
from sllm_actors.loadgen.svg import line_plot

from .figures.results import failed, result

SVG = "{http://www.w3.org/2000/svg}"


def made(*results: object, waited: int = 0) -> str:
    figures = Figures(None, ("m",))
    for each in results:
        figures.record(each)  # type: ignore[arg-type]
    load = GeneratorLoad(0.0, 0.1, 0.2, 9.0, waited, 64)
    conditions = {"models": ["<m>"], "rate": 2.0, "cv": None}
    document = report.document(figures, load, interrupted=False, conditions=conditions)
    return page(document, ["1 answered & more"])


def test_a_page_has_its_tables_and_its_pictures_inside() -> None:
    text = made(result(), result(), failed())
    assert text.count("<svg") == text.count("</svg>") == 7
    for shown in ("time to first token", "HTTP 503", "1 answered &amp; more", "<td>rate</td><td>2.0</td>"):
        assert shown in text
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "<td>cv</td>" not in text


def test_what_a_server_says_is_text() -> None:
    text = made(failed("HTTP 500 <b>", reason="<script>alert(1)</script>"))
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "<m>" not in text


def test_a_run_without_answers_has_a_page_too() -> None:
    text = made()
    assert text.count("<svg") == 2
    assert "milliseconds</th>" not in text


def test_a_generator_that_was_the_bottleneck_is_told() -> None:
    assert "Warning: 5 requests waited" in made(result(), waited=5)


def test_points_are_where_they_belong() -> None:
    root = ET.fromstring(line_plot("t", "x", "y", {"a": [(0, 0), (50, 8)], "b": []}))  # noqa: S314 - our own
    first, second = (each.get("points") for each in root.iter(f"{SVG}polyline"))
    assert first == "70.0,216.0 620.0,36.0"
    assert second == ""
    labels = [each.text for each in root.iter(f"{SVG}text")]
    assert {"12.5", "50", "2", "8", "a", "b"} <= set(labels)


@pytest.mark.parametrize(
    ("most", "label"), [(0.0, "1"), (3.0, "4"), (9.5, "10"), (0.03, "0.04"), (250_000, "4e+05")]
)
def test_axes_end_at_round_numbers(most: float, label: str) -> None:
    root = ET.fromstring(line_plot("t", "x", "y", {"a": [(1, most)]}))  # noqa: S314 - our own
    assert label in [each.text for each in root.iter(f"{SVG}text")]
