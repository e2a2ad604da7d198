"""Who is let in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from attrs import evolve

from sllm_actors.api_error import ApiError
from sllm_actors.gateway import GatewaySettings
from sllm_actors.gateway.access.guard import Guard
from sllm_actors.gateway.cors import Cors
from sllm_actors.gateway.routing.flow import ANONYMOUS, Flow
from sllm_actors.gateway.routing.memory.keys import KnownKeys
from sllm_actors.serving.keys.messages import ADMIN, KnownKey
from sllm_actors.serving.keys.secret import digest_of

from .kit import PlayedCluster, running_gateway

LOCAL = GatewaySettings(snapshot_path=Path("x"), machine="m")
KEYED = GatewaySettings(snapshot_path=Path("x"), machine="m", loopback=False, admin_key="k-1")


DIGESTS = {name: digest_of(f"secret of {name}".encode()) for name in ("chat", "batch", ADMIN)}


def known(settings: GatewaySettings, *keys: KnownKey) -> KnownKeys:
    found = KnownKeys(digest_of(settings.admin_key.encode()) if settings.admin_key else "")
    found.learn(keys)
    return found


def key(name: str, share: float = 1.0) -> KnownKey:
    return KnownKey(name, DIGESTS[name], share, admin=name == ADMIN)


def judged(
    settings: GatewaySettings, path: str, headers: Mapping[str, str], *keys: KnownKey
) -> Flow | ApiError:
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Guard(settings, known(settings, *keys)).judge(path.encode(), sent, dict(sent))


def asks(settings: GatewaySettings, path: str = "/status", **headers: str) -> int:
    found = judged(settings, path, headers)
    return found.status if isinstance(found, ApiError) else 200


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:1", "127.0.0.1:8343", "127.9.9.9", "[::1]:80", "[::1]"]
)
def test_programs_of_this_machine_are_let_in(host: str) -> None:
    assert asks(LOCAL, host=host) == 200
    assert asks(LOCAL, host=host, origin=f"http://{host}") == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "10.0.0.1", "", "[::1", "a@localhost", "localhost:x", "é"],
)
def test_a_name_that_only_leads_here_is_not(host: str) -> None:
    assert asks(LOCAL, host=host) == 403
    assert asks(LOCAL) == 403


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "", "file://", "http://127.0.0.1.evil.example"]
)
def test_a_web_page_of_elsewhere_is_not(origin: str) -> None:
    assert asks(LOCAL, host="localhost", origin=origin) == 403


def test_a_page_of_elsewhere_that_was_allowed_is() -> None:
    allowing = evolve(LOCAL, cors=Cors.of(["https://chat.example.org"]))
    assert asks(allowing, host="localhost", origin="https://chat.example.org") == 200
    assert asks(allowing, host="localhost", origin="http://localhost:3000") == 200
    assert asks(allowing, host="localhost", origin="https://evil.example") == 403
    assert asks(allowing, host="evil.example", origin="https://chat.example.org") == 403


def test_beyond_loopback_everything_but_health_wants_the_key() -> None:
    assert asks(KEYED, "/health") == 200
    assert asks(KEYED) == asks(KEYED, "/v1/models") == asks(KEYED, "/health/") == 401
    assert asks(KEYED, authorization="Bearer k-1") == asks(KEYED, authorization="bearer k-1") == 200
    for wrong in ("Bearer k-2", "k-1", "Basic k-1", "Bearer", "Bearer é"):
        assert asks(KEYED, authorization=wrong) == 401


BEARER = {name: {"authorization": f"Bearer secret of {name}"} for name in DIGESTS}
FOR_USERS = ("/v1/models", "/v1/models/a%2Fb", "/models", "/v1/chat/completions", "/v2/rerank", "/tokenize")
FOR_ADMINS = (
    *("/status", "/deployments", "/deployments/a:vllm/load", "/nodes", "/keys", "/keys/chat", "/events"),
    *("/models/load", "/models/pull", "/instances/a/logs", "/register", "/openapi.json", "*", "/"),
    *("/V1/models", "//v1/models", "/v1", "/tokenize/../status", "/v1%2f..%2fstatus"),
)


@pytest.mark.parametrize("path", FOR_USERS)
def test_a_key_opens_what_is_for_users_of_models(path: str) -> None:
    assert judged(KEYED, path, BEARER["chat"], key("chat", 2.0)) == Flow("chat", 2.0)
    assert judged(KEYED, path, BEARER[ADMIN], key(ADMIN)) == Flow(ADMIN)
    assert isinstance(judged(KEYED, path, BEARER["chat"], key("batch")), ApiError)


def test_a_key_may_come_where_anthropics_libraries_send_it() -> None:
    keys = (key("chat"), key("batch"))
    bare = {"x-api-key": "secret of chat"}
    assert judged(KEYED, "/v1/messages", bare, *keys) == Flow("chat")
    assert judged(KEYED, "/v1/messages", {"x-api-key": "k-1"}) == Flow(ADMIN)
    assert judged(KEYED, "/v1/messages", bare | BEARER["batch"], *keys) == Flow("batch")
    for wrong in ({"x-api-key": "Bearer secret of chat"}, {"x-api-key": ""}, {"x-api-key": "x" * 10_000}):
        assert isinstance(judged(KEYED, "/v1/messages", wrong, *keys), ApiError)
    refused = bare | {"authorization": "Basic secret"}
    assert isinstance(judged(KEYED, "/v1/messages", refused, *keys), ApiError), "only one of both counts"
    twice = [(b"x-api-key", b"secret of chat")] * 2
    assert isinstance(Guard(KEYED, known(KEYED, *keys)).judge(b"/v1/messages", twice, dict(twice)), ApiError)


@pytest.mark.parametrize("path", FOR_ADMINS)
def test_everything_else_wants_an_admin_key(path: str) -> None:
    refused = judged(KEYED, path, BEARER["chat"], key("chat"), key(ADMIN))
    assert isinstance(refused, ApiError)
    assert (refused.status, refused.code) == (403, "admin_key_required")
    assert refused.message == (
        "the key chat is for requests to models and for listing them: this needs the admin key"
    )
    assert judged(KEYED, path, BEARER[ADMIN], key("chat"), key(ADMIN)) == Flow(ADMIN)
    assert judged(KEYED, path, {"authorization": "Bearer k-1"}, key(ADMIN)) == Flow(ADMIN)


def test_on_loopback_a_known_key_says_whose_a_request_is_and_any_other_says_nothing() -> None:
    here = {"host": "localhost"}
    for path in ("/v1/chat/completions", "/status"):
        assert judged(LOCAL, path, here, key("chat")) == ANONYMOUS
        assert judged(LOCAL, path, here | {"authorization": "Bearer EMPTY"}, key("chat")) == ANONYMOUS
        assert judged(LOCAL, path, here | BEARER["chat"], key("chat", 3.0)) == Flow("chat", 3.0)
        assert judged(LOCAL, path, here | BEARER[ADMIN], key(ADMIN)) == Flow(ADMIN)
    assert isinstance(judged(LOCAL, "/status", BEARER["chat"], key("chat")), ApiError), "it has no Host"


def test_a_key_is_another_one_from_the_moment_on_that_the_gateway_hears_of_it() -> None:
    keys = known(KEYED, key("chat"))
    guard = Guard(KEYED, keys)
    sent = [(b"authorization", b"Bearer secret of chat")]

    def whose() -> Flow | None:
        found = guard.judge(b"/v1/models", sent, dict(sent))
        return None if isinstance(found, ApiError) else found

    editions = [guard.edition]
    assert whose() == Flow("chat")
    assert keys.learn([key("chat", 5.0)])
    assert whose() == Flow("chat", 5.0)
    editions.append(guard.edition)
    assert not keys.learn([key("chat", 5.0)], gone=["batch"]), "nothing is new"
    assert guard.edition == editions[-1]
    assert keys.learn(gone=["chat"])
    assert whose() is None
    editions.append(guard.edition)
    assert editions == sorted(set(editions)), "what was found in one edition holds in that one only"


def test_a_name_that_is_given_to_another_key_no_longer_opens_for_the_one_before() -> None:
    keys = known(KEYED, key("chat"))
    keys.learn([KnownKey("chat", DIGESTS["batch"])])
    assert keys.find(DIGESTS["chat"]) is None
    assert keys.find(DIGESTS["batch"]) is not None
    assert keys.names() == ("chat",)
    assert keys.entries() == (KnownKey("chat", DIGESTS["batch"]),)


def test_the_admin_key_of_its_own_machine_opens_a_gateway_whatever_the_head_says() -> None:
    own = digest_of(b"k-1")
    keys = known(KEYED, KnownKey(ADMIN, own, admin=True))
    keys.learn([KnownKey(ADMIN, DIGESTS[ADMIN], admin=True)])
    for digest in (own, DIGESTS[ADMIN]):
        owner = keys.find(digest)
        assert owner is not None
        assert owner.admin
    keys.learn(gone=[ADMIN])
    assert keys.find(own) is not None
    assert keys.find(DIGESTS[ADMIN]) is None


def test_a_header_that_is_too_long_for_a_key_is_none() -> None:
    long = "x" * 4096
    keys = KnownKey("chat", digest_of(long.encode()))
    assert isinstance(judged(KEYED, "/v1/models", {"authorization": f"Bearer {long}"}, keys), ApiError)


def test_a_header_that_comes_twice_is_believed_neither_time() -> None:
    local, foreign = (b"host", b"localhost"), (b"host", b"evil.example")
    page = (b"origin", b"https://evil.example")
    key, wrong = (b"authorization", b"Bearer k-1"), (b"authorization", b"Bearer k-2")
    for settings, sent in (
        (LOCAL, [foreign, local]),
        (LOCAL, [local, local]),
        (LOCAL, [local, page, (b"origin", b"http://localhost")]),
        (KEYED, [wrong, key]),
        (KEYED, [key, key]),
    ):
        judge = Guard(settings, known(settings)).judge
        assert isinstance(judge(b"/status", sent, dict(sent)), ApiError)


def test_a_gateway_for_everybody_without_a_key_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="admin key"):
        GatewaySettings(snapshot_path=Path("x"), machine="m", loopback=False)
    assert "k-1" not in repr(KEYED)


@pytest.mark.anyio
async def test_a_refusal_comes_before_everything_else(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, loopback=False, admin_key="k-1") as cluster:
        await check(cluster)


async def check(cluster: PlayedCluster) -> None:
    http = cluster.http()
    assert (await http.get("/health")).status_code == 200
    for method, path in (("GET", "/status"), ("POST", "/v1/chat/completions"), ("GET", "/nothing")):
        answer = await http.request(method, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        answer = await http.request(method, path, headers={"Authorization": "Bearer k-1"})
        assert answer.status_code != 401
    assert cluster.gateway.refusals() == {"invalid_api_key": 3}
