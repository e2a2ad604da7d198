"""The document and the rows of a result."""

from __future__ import annotations

import csv
import json

import pytest
from hdrh.histogram import HdrHistogram

from sllm_actors.loadgen import report, rows
from sllm_actors.loadgen.figures.figures import Figures
from sllm_actors.loadgen.figures.generator_load import GeneratorLoad
from sllm_actors.loadgen.figures.goals import Goals

from .figures.results import failed, result

IDLE = GeneratorLoad(0.0, 0.1, 0.2, 9.0, 0, 64)


def test_a_document_has_all_figures_and_is_json() -> None:
    figures = Figures(Goals({"ttft": 0.2}), ("m", "n"))
    for each in (
        result(due=0.0, hold=0.25),
        result(due=1.0),
        failed(reason="no replica"),
        result(hung_up=True),
    ):
        figures.record(each)
    found = report.document(figures, IDLE, interrupted=False, conditions={"rate": 2.0})
    assert json.loads(json.dumps(found)) == found
    assert (found["version"], found["conditions"]) == (report.VERSION, {"rate": 2.0})
    assert found["requests"] == {"ended": 4, "answered": 2, "failed": 1, "hung_up": 1, "interrupted": 0}
    assert found["per_second"]["requests"] == pytest.approx(2 / 1.5)
    assert found["goodput"]["good"] == 1
    assert found["goodput"]["share"] == 0.25
    assert found["errors"] == {"HTTP 503": {"count": 1, "reason": "no replica"}}
    assert found["models"]["m"]["answered"] == 2
    assert found["models"]["n"]["ttft"] == {}
    assert (found["latency_ms"]["hold"]["count"], found["latency_ms"]["hold"]["mean"]) == (1, 250.0)
    read = HdrHistogram.decode(found["histograms"]["ttft"])
    assert read.get_total_count() == found["latency_ms"]["ttft"]["count"] == 3


def test_a_document_of_nothing_has_no_figures() -> None:
    found = report.document(Figures(Goals({"ttft": 1}), ("m",)), IDLE, interrupted=True, conditions={})
    assert found["interrupted"] is True
    assert found["histograms"] == {}
    assert set(map(len, found["latency_ms"].values())) == {0}
    assert found["goodput"]["share"] is None
    assert "models" not in found
    assert "goodput" not in report.document(Figures(None, ("m",)), IDLE, interrupted=True, conditions={})


def test_a_row_says_how_a_request_ended() -> None:
    ended = (
        result(begun=1.001, sent=1.003, hold=0.0125),
        failed('odd "kind", this'),
        result(hung_up=True),
        failed(error="", interrupted=True, status=0),
    )
    lines = [rows.header(), *map(rows.row, ended)]
    good, bad, left, cut = csv.DictReader(lines)
    assert (good["outcome"], good["ttft_ms"], good["e2e_ms"], good["tpot_ms"]) == (
        "answered",
        "100.000",
        "500.000",
        "100.000",
    )
    assert (good["lag_ms"], good["wait_for_connection_ms"]) == ("1.000", "2.000")
    assert (good["hold_ms"], bad["hold_ms"]) == ("12.500", "")
    assert (bad["outcome"], bad["error"], bad["ttft_ms"]) == ("failed", 'odd "kind", this', "")
    assert (left["outcome"], cut["outcome"], cut["status"]) == ("hung up", "interrupted", "")
