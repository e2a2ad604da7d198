"""Whatever happens in whatever order: each request has one response, and nothing of it is left."""

from __future__ import annotations

import json
from typing import Any

from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.gateway.path.exchanging import (
    DONE,
    END,
    EVENTS,
    STOP,
    TEXT,
    Client,
    Play,
    at,
    event,
    whole,
)

from sllm_actors.engines.messages import EngineConfirmed, ReplicaReport, ReplicaState
from sllm_actors.gateway.path.exchange import Exchange
from sllm_actors.transport import NodeFull, TunnelBroken, TunnelRefused

STATES = st.sampled_from(
    [
        ReplicaState.READY,
        ReplicaState.READY,
        ReplicaState.READY,
        ReplicaState.DRAINING,
        ReplicaState.STARTING,
        ReplicaState.FAILED,
    ]
)
ANSWERS = st.sampled_from(
    [
        EVENTS + TEXT + STOP + DONE + END,
        EVENTS + TEXT,
        EVENTS + STOP + DONE,
        EVENTS + event(b'{"error": {"message": "it is broken", "code": 500}}') + END,
        EVENTS + event(b'{"error": {"message": "you are wrong", "code": 400}}') + DONE + END,
        EVENTS + event(b"not JSON") + END,
        whole(),
        whole(200, {"long": "x" * 3000}),
        whole(400, {"error": {"message": "no", "code": "no"}}),
        whole(503, {"error": {"message": "no", "code": "no"}}),
        whole()[:-2],
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{}",
        b"HTTP/1.1 100 Continue\r\n\r\n" + whole(),
        whole() + whole(),
        b"SSH-2.0\r\n",
    ]
)
CONFIRMED = st.sampled_from(
    [None, EngineConfirmed(serving=True), EngineConfirmed(died=True), EngineConfirmed(reason="?")]
)
LOSSES = st.sampled_from([None, ConnectionResetError("reset"), TunnelBroken("its lane broke")])
REFUSALS = st.sampled_from([None, None, TunnelRefused("no"), NodeFull("full")])
BODIES = st.sampled_from(
    [None, None, None, b"", b"{", b'{"model": "nobody"}', b'{"model": "smol", "stream_options": {"\xff": 1}}']
)
SILENCE, HOLD = 30.0, 12.0


@define(eq=False)
class Life:
    """One request, and what its client does."""

    exchange: Exchange
    client: Client
    stream: bool
    ended: bool
    paused: bool = False
    left: bool = False
    written: int = 0
    seen: list[bytes] = field(factory=list)

    @property
    def is_open(self) -> bool:
        return not self.client.ended


class Exchanging(RuleBasedStateMachine):
    @initialize(backend=st.sampled_from(["llamacpp", "vllm"]), limit=st.integers(1, 4))
    def begin(self, backend: str, limit: int) -> None:
        self.play = Play(
            silence=SILENCE,
            body_silence=10.0,
            body_timeout=25.0,
            held_bytes=4000,
            body_limit=1000,
            requests=8,
        )
        self.limits: dict[str, Any] = {"hold_limit": 3, "hold_timeout": HOLD, "max_concurrency": limit}
        self.deployment = f"smol:{backend}"
        self.reports: dict[int, ReplicaReport] = {1: self.replica(1), 2: self.replica(2)}
        self.attempt = 1
        self.lives: list[Life] = []
        self.scripts: dict[Any, bytes] = {}  # what is left of the answer to whoever waits for it
        self.publish()

    def replica(self, number: int, **more: Any) -> ReplicaReport:
        return at(number, deployment=self.deployment, **more)

    def publish(self) -> None:
        self.play.replicas(*self.reports.values(), deployment=self.deployment, **self.limits)

    # ---- clients

    @rule(stream=st.booleans(), body=BODIES, ended=st.sampled_from([True, True, True, False]))
    def ask(self, *, stream: bool, body: bytes | None, ended: bool) -> None:
        exchange, client = self.play.ask_for(stream=stream, body=body, ended=ended)
        self.lives.append(Life(exchange, client, stream, ended))

    @precondition(lambda self: any(not life.ended for life in self.lives))
    @rule(data=st.sampled_from([b"", b"x", b"x" * 500]), ended=st.booleans())
    def send_more(self, data: bytes, *, ended: bool) -> None:
        life = next(life for life in self.lives if not life.ended)
        if data:
            life.exchange.body(data)
        if ended:
            life.ended = True
            life.exchange.body_ended()

    @precondition(lambda self: self.open())
    @rule(which=st.integers(0, 99), what=st.sampled_from(["leave", "pause", "resume", "resume"]))
    def do(self, which: int, what: str) -> None:
        lives = self.open()
        life = lives[which % len(lives)]
        if what == "leave":
            life.left = life.ended = True
            life.exchange.client_left()
        elif what == "pause" and not life.paused:
            life.paused = True
            life.exchange.pause()
        elif what == "resume" and life.paused:
            life.paused = False
            life.exchange.resume()

    # ---- engines and workers

    @precondition(lambda self: self.play.under_way())
    @rule(which=st.integers(0, 99), answer=ANSWERS, cut=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0, 1.0]))
    def answer(self, which: int, answer: bytes, cut: float) -> None:
        under_way = self.play.under_way()
        _, connection, wire = under_way[which % len(under_way)]
        caller = connection._caller
        script = self.scripts.get(caller, answer)
        place = round(cut * len(script))
        self.scripts[caller] = script[place:]
        if place and not wire.is_paused():
            connection.data_received(script[:place])

    @precondition(lambda self: self.play.under_way())
    @rule(which=st.integers(0, 99), error=LOSSES)
    def break_off(self, which: int, error: Exception | None) -> None:
        self.play.break_off(error, at=which % len(self.play.under_way()))

    @rule()
    def turn(self) -> None:
        self.play.lose_closed()

    @rule(refusal=REFUSALS)
    def refuse_streams(self, refusal: Exception | None) -> None:
        self.play.refusal = refusal

    @rule(number=st.integers(1, 3), state=STATES, anew=st.booleans())
    def report(self, number: int, state: ReplicaState, *, anew: bool) -> None:
        self.attempt += anew
        attempt = self.attempt if anew or number not in self.reports else self.reports[number].id.attempt
        self.reports[number] = self.replica(number, state=state, attempt=attempt)
        self.publish()

    @rule(linked=st.booleans())
    def lose_all(self, *, linked: bool) -> None:
        self.play.bench.linked = linked
        self.reports.clear()
        self.publish()

    @precondition(lambda self: self.play.questions)
    @rule(answer=CONFIRMED)
    def confirm(self, answer: EngineConfirmed | None) -> None:
        self.play.confirm(answer)

    @rule(seconds=st.sampled_from([0.05, 1.0, 3.0, 6.0, 13.0]))
    def wait(self, seconds: float) -> None:
        self.play.wait(seconds)

    @rule()
    def give_up(self) -> None:
        self.play.inference.give_up()
        assert all(life.client.ended or not life.ended for life in self.lives)
        self.play.inference.stopping = False

    # ---- what has to hold

    def open(self) -> list[Life]:
        return [life for life in self.lives if life.is_open]

    @invariant()
    def what_is_over_holds_nothing(self) -> None:
        play, open_ = self.play, self.open()
        assert play.inference.under_way == len(open_)
        assert len(play.inference._rounds) == len(open_)
        assert len(play.under_way()) <= len(open_), "no attempt of a request that is over, nor two of one"
        assert play.bench.balancer.total <= len(open_)
        assert play.inference.budget.held == sum(life.exchange._body.size for life in open_)
        assert play.bench.shell.errors == []
        for life in self.lives:
            if not life.is_open:
                assert life.exchange._dispatch is None

    @invariant()
    def a_response_is_one_thing(self) -> None:
        for life in self.lives:
            client = life.client
            assert client.ended or client.begun or not client.body
            if client.ended and not client.was_cut_off and not life.left:
                self.is_whole(life)

    def is_whole(self, life: Life) -> None:
        client = life.client
        assert client.status
        if (b"content-type", b"text/event-stream; charset=utf-8") in client.headers:
            assert life.stream or self.deployment == "smol:vllm"
            *events, rest = client.body.split(b"\n\n")
            assert rest == b"", client.body
            for each in events:
                data = each.removeprefix(b"data: ")
                assert each.startswith((b":", b"data: ")), each
                assert each.startswith(b":") or data in (b"[DONE]", b"not JSON") or json.loads(data)
        else:
            json.loads(client.body)

    @invariant()
    def who_does_not_read_gets_little(self) -> None:
        for life in self.lives:
            if life.paused and life.is_open:
                grown = len(life.client.body) - life.written
                assert grown == 0, "what had not come before the client paused stays at the engine"
            life.written = len(life.client.body)

    def teardown(self) -> None:
        if not hasattr(self, "play"):
            return
        for life in self.lives:
            if life.paused and life.is_open and life.stream:
                life.exchange.resume()
        for _ in range(60):
            while self.play.questions:
                self.play.confirm(None)
            self.play.lose_closed()
            self.play.wait(2.0)
        assert not self.open(), "each request ends by itself, whatever the others do not do"
        self.what_is_over_holds_nothing()
        self.a_response_is_one_thing()
        play = self.play
        play.lose_closed()
        assert play.bench.balancer.total == play.bench.balancer.held(self.deployment) == 0
        assert play.inference.budget.held == 0
        assert play.wires == []
        assert play.questions == []
        assert len(play.inference.connector.pool._rounds) == 0
        assert play.inference.connector.pool._idle == {}


TestExchanging = Exchanging.TestCase
TestExchanging.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
