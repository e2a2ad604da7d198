"""The scenarios with real engines run as they stand, in small, and what they make of their figures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from bench.cold_suite.cluster import ClusterFailed
from bench.harness.results import Results, read
from bench.peers import gateways, serving, xinference
from bench.scenarios import burst, failover, fairness, outage, prefix
from bench.scenarios.asking import MEASURES, Answers, at_once, closed_loop, completion

from .program import bench

Handle = Callable[[httpx2.Request], httpx2.Response]


def ran(tmp_path: Path, name: str, *arguments: str) -> tuple[Results, int]:
    """Run a scenario; return what it wrote, and its status."""
    file = tmp_path / "results.json"
    done = bench("run", name, "--rounds", "1", *arguments, "--json", str(file))
    assert file.exists(), done.stderr
    assert "compared: " in done.stderr
    assert " cores of " in done.stderr
    assert f"again: python -m bench run {name}" in done.stderr
    return read(file), done.returncode


@pytest.mark.slow
@pytest.mark.allow_blocking
def test_replicas_are_killed_under_load_and_lost_requests_are_counted(tmp_path: Path) -> None:
    found, status = ran(tmp_path, "failover", "--seconds", "4", "--every", "0.5", "--clients", "2")
    calm, killed = (found.medians()[kind] for kind in (failover.CALM, failover.KILLED))
    assert calm["errors"] == calm["kills"] == 0
    assert calm["rps"] > 0
    assert killed["kills"] >= 1
    assert status == (1 if killed["errors"] else 0)
    assert found.subjects[failover.KILLED].cpu_s > 0


@pytest.mark.slow
@pytest.mark.allow_blocking
def test_a_burst_for_a_model_at_rest_loses_no_request(tmp_path: Path) -> None:
    found, status = ran(tmp_path, "burst", "--requests", "6", "--tokens", "2")
    assert status == 0
    for figures in found.medians().values():
        assert figures["errors"] == 0
        assert 0 < figures["first_s"] <= figures["wait_p50_s"] <= figures["wait_max_s"]
        assert figures["engines"] >= 1
    assert set(found.subjects) == {burst.REST, burst.READY}


@pytest.mark.slow
@pytest.mark.allow_blocking
def test_engines_tell_how_many_tokens_of_prompts_they_did_not_compute_again(tmp_path: Path) -> None:
    found, status = ran(tmp_path, "prefix", "--seconds", "2", "--groups", "4", "--words", "40")
    assert status == 0
    figures = found.medians()[prefix.PREFIX]
    assert 0 < figures["hit_share"] < 1
    assert figures["computed_share"] == pytest.approx(1 - figures["hit_share"], abs=0.001)
    assert set(found.subjects) == {prefix.PREFIX, prefix.OTHER}


@pytest.mark.slow
@pytest.mark.allow_blocking
def test_few_clients_with_a_key_get_more_beside_many_than_without_keys(tmp_path: Path) -> None:
    found, status = ran(tmp_path, "fairness", "--seconds", "6", "--tokens", "2", "--many", "40")
    assert status == 0
    figures = found.medians()
    assert list(figures) == list(fairness.SUBJECTS)
    assert all(each["errors"] == 0 for each in figures.values())
    shares = [figures[each]["few_share"] for each in (fairness.NO_KEYS, fairness.EVEN, fairness.THREE)]
    assert shares == sorted(shares)


def test_the_time_of_slots_that_clients_had_is_counted_without_their_waits() -> None:
    few, many = fairness.Side(1, 10, ""), fairness.Side(2, 10, "")
    few.answers = [fairness.Answered(8.0, 1.0, 9.5, 11.0, 10), fairness.Answered(11.0, 3.0, 14.5, 16.0, 10)]
    many.answers = [fairness.Answered(1.0, 7.0, 8.5, 14.0, 30), fairness.Answered(13.0, 2.0, 18.0, 25.0, 100)]
    many.failures = ["503"]
    found = fairness.figures((few, many), 10.0, 20.0)
    assert found["few_share"] == pytest.approx((1 + 2) / (1 + 2 + 4 + 5))
    assert found["tokens_s"] == pytest.approx((10 / 2 + 10 + 30 * 4 / 6 + 100 / 2) / 10)
    assert (found["few_rps"], found["many_rps"], found["errors"]) == (0.2, 0.1, 1)
    assert (found["few_hold_p50_s"], found["few_first_p99_s"]) == pytest.approx((1.0, 3.5))
    assert found["many_hold_p50_s"] == 7.0
    nothing = fairness.figures((fairness.Side(1, 1, ""), fairness.Side(1, 1, "")), 0.0, 1.0)
    assert nothing == {"errors": 0.0, "few_rps": 0.0, "many_rps": 0.0, "tokens_s": 0.0}


def test_what_is_wanted_of_shares_is_judged() -> None:
    fair = {"few_share": 0.5, "tokens_s": 99.0, "few_hold_p50_s": 0.3}
    found = {
        fairness.NO_KEYS: {"few_share": 0.1, "tokens_s": 100.0, "few_hold_p50_s": 1.0},
        fairness.EVEN: fair,
        fairness.THREE: {**fair, "few_share": 0.6, "tokens_s": 90.0},
    }
    judged = [(each.found, each.met) for each in fairness.judge(found)]
    expected = [(0.0, True), (0.2, False), (None, None), (0.99, True), (0.9, False), (0.3, True)]
    assert [(each and pytest.approx(each), met) for each, met in expected] == judged


def test_the_time_that_a_request_was_held_is_read_in_a_header_and_in_a_comment() -> None:
    assert fairness.held_for("hold;dur=1750.0") == 1.75
    assert fairness.held_for(": hold;dur=12000.0") == 12.0
    assert fairness.held_for(": waiting: place 3 of 7, about 12 s") == 0


@pytest.mark.slow
@pytest.mark.allow_blocking
def test_a_system_goes_through_all_steps_and_what_another_cannot_do_is_told(tmp_path: Path) -> None:
    only = ("--system", "sllm", "--system", "llama.cpp")
    found, status = ran(tmp_path, "seed", "--seconds", "0.5", "--clients", "2", "--tokens", "2", *only)
    assert status == 0
    ours, engine = found.medians()["sllm"], found.medians()["llama.cpp"]
    assert all(ours[step] > 0 for step in ("deploy_s", "stream_s", "rps", "back_s", "delete_s"))
    assert ours["lost"] >= 0
    assert ours["errors"] == engine["errors"] == 0
    assert "back_s" not in engine
    assert found.errors == {"llama.cpp": ["worker killed: there is no worker: nobody starts it again"]}


def test_a_system_that_is_not_installed_is_skipped_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "ENVIRONMENTS", tmp_path)
    with (
        pytest.raises(serving.CannotDo, match='not installed: run `make bench-peers PEERS="pylet"`'),
        serving.open_pylet(tmp_path),
    ):
        pass


def test_xinference_is_skipped_with_the_remedy_where_it_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateways, "ENVIRONMENTS", tmp_path)
    with (
        pytest.raises(serving.CannotDo, match='not installed: run `make bench-peers PEERS="xinference"`'),
        xinference.open_xinference(tmp_path / "home"),
    ):
        pass


def test_xinference_is_told_the_file_of_the_model_and_the_settings_of_the_other_engines() -> None:
    file = Path("/models/a model/x.gguf")
    (spec,) = xinference.registration(file)["model_specs"]
    assert spec["model_uri"] == "file:///models/a%20model"
    assert spec["model_file_name_template"] == "x.gguf"
    asked = xinference.launch(file)
    assert asked["model_path"] == str(file)
    assert {name: asked[name] for name in serving.SETTINGS} == serving.SETTINGS


# ---- what clients see of a killed worker


def served(*answers: httpx2.Response | Exception) -> httpx2.Client:
    turns = iter(answers)

    def handle(_: httpx2.Request) -> httpx2.Response:
        answer = next(turns)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return httpx2.Client(base_url="http://x", transport=httpx2.MockTransport(handle))


def test_only_an_answer_to_what_was_asked_after_the_engine_was_gone_ends_an_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outage, "PAUSE", 0.0)
    found = outage.Outage()

    def late(_: httpx2.Request) -> httpx2.Response:
        found.gone.set()
        return httpx2.Response(200)

    with httpx2.Client(base_url="http://x", transport=httpx2.MockTransport(late)) as http:
        found.ask_on(http, {})
    assert (found.answered, found.failed) == (2, 0)


def test_requests_that_fail_in_an_outage_are_counted_and_the_last_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outage, "PAUSE", 0.0)
    found = outage.Outage()
    found.gone.set()
    refused = httpx2.ConnectError("refused")
    with served(refused, httpx2.Response(503, text="no replica"), httpx2.Response(200)) as http:
        found.ask_on(http, {})
    assert found.sentence() == "1 requests were answered and 2 failed, the last with: 503 no replica"


class Lost(serving.LlamaCpp):
    """A server that was never started, whose address is forgotten once its worker is killed."""

    killed = False

    def url(self) -> str | None:
        return None if self.killed else super().url()

    def kill_worker(self) -> None:
        self.killed = True


def test_a_model_whose_address_is_not_known_any_more_is_not_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "PATIENCE", 0.1)
    monkeypatch.setattr(outage, "UNDER_WAY", 0.0)
    with pytest.raises(ClusterFailed, match=r"of another engine; 0 requests were answered and \d+ failed"):
        outage.through_a_kill(Lost(tmp_path), 2, completion("m", "p", 1))


# ---- what is made of answers


def answering(handle: Handle) -> httpx2.AsyncBaseTransport:
    return httpx2.MockTransport(handle)


def test_answers_and_failures_are_told_apart() -> None:
    turns = iter(range(1_000_000))

    def handle(request: httpx2.Request) -> httpx2.Response:
        assert json.loads(request.content)["max_tokens"] == 3
        turn = next(turns)
        if turn == 0:
            return httpx2.Response(502, text="two engines ended")
        if turn == 1:
            raise httpx2.ConnectError("refused")
        return httpx2.Response(200, json={"usage": {}})

    answers = asyncio.run(
        closed_loop("http://x", 2, 0.05, lambda _: completion("m", "p", 3), transport=answering(handle))
    )
    assert len(answers.failures) == 2
    assert answers.failures[0] == "502 two engines ended"
    assert len(answers.bodies) == len(answers.waits)
    assert answers.seconds >= 0.05


def test_figures_are_of_the_answers_alone() -> None:
    figures = Answers(waits=[1.0, 3.0, 2.0], failures=["no"], seconds=2.0).figures()
    assert figures == {"rps": 1.5, "errors": 1.0, "wait_p50_s": 2.0, "wait_p99_s": 3.0, "wait_max_s": 3.0}
    assert set(figures) <= set(MEASURES)
    assert Answers(failures=["no"], seconds=1.0).figures() == {"rps": 0.0, "errors": 1.0}


def test_a_server_that_is_not_there_fails_every_request_of_a_burst() -> None:
    answers = asyncio.run(at_once("http://127.0.0.1:1", [completion("m", "p", 1)] * 3))
    assert (len(answers.waits), len(answers.failures)) == (0, 3)


def test_what_engines_did_not_compute_they_had_in_their_caches() -> None:
    answers = Answers(bodies=[{"usage": {"prompt_tokens": 60}}, {"usage": {"prompt_tokens": 40}}])
    assert prefix.shares(answers, 25.0) == {"computed_share": 0.25, "hit_share": 0.75}
    assert prefix.shares(Answers(), 0.0) == {}
    (judged,) = prefix.judge({"prefix": {"computed_share": 0.2}, "p2c": {"computed_share": 0.5}})
    assert (judged.found, judged.met) == (0.4, True)


def test_prompts_of_one_group_begin_alike_and_others_do_not() -> None:
    assert prefix.beginning(1, 20) == prefix.beginning(1, 20) != prefix.beginning(2, 20)
    assert len(prefix.beginning(1, 20).split()) == 22


def test_the_metric_of_llamacpp_is_read() -> None:
    text = "# TYPE x counter\nllamacpp:prompt_tokens_total 1.5e+03\nllamacpp:n_busy 1\n"
    found = prefix.COMPUTED.search(text)
    assert found is not None
    assert float(found[1]) == 1500


def test_lost_requests_miss_what_is_wanted() -> None:
    assert [each.met for each in failover.judge({failover.KILLED: {"errors": 1.0, "kills": 2.0}})] == [
        False,
        True,
    ]
    assert [each.met for each in burst.judge({burst.REST: {"errors": 0.0}})] == [True, None]
