"""What a gateway knows, found by deployment, and what each change touches."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.kit import replica, served

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.gateway.routing.loss import Lost
from sllm_actors.gateway.routing.memory.knowledge import Knowledge
from sllm_actors.serving.messages import WorkerAddress

HERE = WorkerAddress("worker-1", "10.0.0.1", 8002)


def test_what_is_deployed_touches_its_own_route_only() -> None:
    knowledge = Knowledge()
    assert knowledge.serve([served("a"), served("b")]) == {"a:llamacpp", "b:llamacpp"}
    assert knowledge.serve([served("a"), served("b", hold_limit=1)]) == {"b:llamacpp"}
    assert knowledge.serve(gone=["a:llamacpp", "never:llamacpp"]) == {"a:llamacpp"}
    assert knowledge.names() == {"b:llamacpp"}


def test_of_addresses_those_that_were_not_known_are_told() -> None:
    knowledge = Knowledge()
    moved = WorkerAddress("worker-1", "10.0.0.1", 8003)
    assert knowledge.locate([HERE]) == ((HERE,), ())
    assert knowledge.locate([HERE], ["worker-2"]) == ((), ())
    assert knowledge.locate([moved]) == ((moved,), ())
    assert knowledge.locate(gone=["worker-1"]) == ((), ("worker-1",))
    assert knowledge.addresses == {}


def test_replicas_of_several_workers_make_one_route_until_a_worker_is_lost() -> None:
    knowledge = Knowledge()
    knowledge.serve([served()])
    assert knowledge.report("worker-1", [replica()]) == {"smol:llamacpp"}
    assert knowledge.report("worker-2", [replica(number=2)]) == {"smol:llamacpp"}
    assert nodes_of(knowledge) == ["worker-1", "worker-2"]
    assert knowledge.find("smol:llamacpp", 1, 2) == ("worker-2", replica(number=2).id.key)
    assert knowledge.nodes() == ("worker-1", "worker-2")
    assert knowledge.lose("worker-2") == ({"smol:llamacpp"}, False)
    assert nodes_of(knowledge) == ["worker-1"]
    assert knowledge.find("smol:llamacpp", 1, 2) is None
    assert not knowledge.is_linked("worker-2")
    assert knowledge.lose("worker-2") == (set(), False)


def test_a_worker_that_may_be_gone_gets_requests_only_where_no_other_one_serves() -> None:
    knowledge = Knowledge()
    knowledge.serve([served()])
    knowledge.report("worker-1", [replica()])
    knowledge.report("worker-2", [replica(number=2)])
    assert knowledge.doubt("worker-1", doubted=True) == {"smol:llamacpp"}
    assert nodes_of(knowledge) == ["worker-2"]
    assert knowledge.lost("worker-1", replica().id) is None, "what is under way there goes on"
    knowledge.lose("worker-2")
    assert nodes_of(knowledge) == ["worker-1"]
    knowledge.report("worker-2", [replica(number=2)])
    assert knowledge.doubt("worker-1", doubted=False) == {"smol:llamacpp"}
    assert nodes_of(knowledge) == ["worker-1", "worker-2"]
    knowledge.doubt("worker-1", doubted=True)
    knowledge.lose("worker-1")
    knowledge.report("worker-1", [replica()])
    assert nodes_of(knowledge) == ["worker-1", "worker-2"], "its next life is another matter"
    assert knowledge.doubt("worker-3", doubted=True) == set()


def nodes_of(knowledge: Knowledge) -> list[str]:
    route = knowledge.route("smol:llamacpp", patience=5)
    assert route is not None
    return [each.node for each in route.ready]


def test_a_replica_that_two_workers_have_stays_while_one_of_them_has_it() -> None:
    knowledge = Knowledge()
    knowledge.serve([served()])
    for node in ("worker-1", "worker-2"):
        knowledge.report(node, [replica()])
    knowledge.report("worker-1", gone=[replica().id.key])
    assert nodes_of(knowledge) == ["worker-2"]
    knowledge.lose("worker-2")
    assert nodes_of(knowledge) == []


def test_a_replica_that_is_gone_touches_its_deployment_once() -> None:
    knowledge = Knowledge()
    knowledge.report("worker-1", [replica()])
    key = replica().id.key
    assert knowledge.keys_of("worker-1") == (key,)
    assert knowledge.report("worker-1", gone=[key]) == {"smol:llamacpp"}
    assert knowledge.report("worker-1", gone=[key]) == set()
    assert knowledge.names() == set()
    assert knowledge.route("smol:llamacpp", patience=5) is None
    assert knowledge.is_linked("worker-1")


def test_a_worker_that_has_told_all_may_have_begun_anew() -> None:
    knowledge = Knowledge()
    before = knowledge.whole_of("worker-1")
    assert knowledge.report_whole("worker-1") == set(), "an empty whole is one"
    assert knowledge.is_linked("worker-1")
    knowledge.report("worker-1", [replica()])
    first = knowledge.whole_of("worker-1")
    assert knowledge.report_whole("worker-1") == {"smol:llamacpp"}
    second = knowledge.whole_of("worker-1")
    knowledge.lose("worker-1")
    knowledge.report_whole("worker-1")
    assert len({before, first, second, knowledge.whole_of("worker-1")}) == 4, "no number comes twice"


def test_people_mean_the_replica_of_the_deployment_that_is_served_now() -> None:
    knowledge = Knowledge()
    old, new = replica(uid="u1"), replica(uid="u2")
    knowledge.report("worker-1", [old])
    assert knowledge.find("smol:llamacpp", 1, 1) == ("worker-1", old.id.key)
    knowledge.serve([served(uid="u2")])
    assert knowledge.find("smol:llamacpp", 1, 1) == ("worker-1", old.id.key), "it is the only one"
    knowledge.report("worker-2", [new])
    assert knowledge.find("smol:llamacpp", 1, 1) == ("worker-2", new.id.key)
    assert knowledge.find("smol:llamacpp", 2, 1) is None
    assert knowledge.find("nobody:llamacpp", 1, 1) is None


REPORTS = st.lists(
    st.tuples(st.sampled_from("xyz"), st.sampled_from("ab"), st.integers(1, 3), st.booleans()), max_size=30
)


@given(REPORTS, st.sets(st.sampled_from("xyz")))
def test_routes_are_those_of_what_was_said_last(
    said: list[tuple[str, str, int, bool]], lost: set[str]
) -> None:
    knowledge = Knowledge()
    knowledge.serve([served("a"), served("b")])
    expected: dict[tuple[str, str, int], bool] = {}
    for node, model, number, there in said:
        report = replica(f"{model}:llamacpp", number=number)
        if there:
            knowledge.report(node, [report])
        else:
            knowledge.report(node, gone=[report.id.key])
        expected[node, model, number] = there
    for node in lost:
        knowledge.lose(node)
    for model in "ab":
        route = knowledge.route(f"{model}:llamacpp", patience=5)
        assert route is not None
        assert {(each.node, model, each.id.number) for each in route.ready} == {
            key for key, there in expected.items() if there and key[1] == model and key[0] not in lost
        }


def test_what_is_not_served_has_a_route_while_something_is_left_of_it() -> None:
    knowledge = Knowledge()
    knowledge.report("worker-1", [replica(state=ReplicaState.DRAINING)])
    route = knowledge.route("smol:llamacpp", patience=5)
    assert route is not None
    assert (route.served, len(route.leaving)) == (None, 1)


def test_a_deployment_that_the_head_does_not_name_stays_as_long_as_it_serves() -> None:
    knowledge = Knowledge()
    knowledge.serve([served("a"), served("b"), served("c")])
    for name in ("a", "b"):
        knowledge.report("worker-1", [replica(f"{name}:llamacpp")])
    knowledge.report("worker-1", [replica("c:llamacpp", ReplicaState.STARTING)])
    assert knowledge.serve(missing=["a:llamacpp", "b:llamacpp", "c:llamacpp", "d:llamacpp"]) == {"c:llamacpp"}
    assert set(knowledge.served) == {"a:llamacpp", "b:llamacpp"}
    knowledge.report("worker-1", [replica("a:llamacpp", ReplicaState.DRAINING)])
    assert set(knowledge.served) == {"b:llamacpp"}
    assert knowledge.lose("worker-1")[0] >= {"b:llamacpp"}
    assert knowledge.served == {}


def test_a_deployment_that_the_head_names_again_stays_and_one_that_is_gone_goes() -> None:
    knowledge = Knowledge()
    knowledge.serve([served("a"), served("b")])
    for name in ("a", "b"):
        knowledge.report("worker-1", [replica(f"{name}:llamacpp")])
    knowledge.serve(missing=["a:llamacpp", "b:llamacpp"])
    knowledge.serve([served("a")])
    assert knowledge.serve(gone=["b:llamacpp"]) == {"b:llamacpp"}
    knowledge.lose("worker-1")
    assert set(knowledge.served) == {"a:llamacpp"}


def test_a_worker_that_the_head_does_not_name_stays_as_long_as_it_is_linked() -> None:
    knowledge = Knowledge()
    other = WorkerAddress("worker-2", "10.0.0.2", 8002)
    third = WorkerAddress("worker-3", "10.0.0.3", 8002)
    knowledge.locate([HERE, other, third])
    knowledge.report("worker-1", [replica()])
    knowledge.report("worker-3", [replica(number=3)])
    assert knowledge.locate(missing=["worker-1", "worker-2", "worker-3"]) == ((), ("worker-2",))
    knowledge.locate([third])
    assert knowledge.lose("worker-1") == ({"smol:llamacpp"}, True)
    assert knowledge.lose("worker-3") == ({"smol:llamacpp"}, False)
    assert set(knowledge.addresses) == {"worker-3"}


def test_a_life_is_lost_with_the_link_to_its_worker_or_when_the_worker_says_so() -> None:
    knowledge, life = Knowledge(), replica().id
    assert knowledge.lost("worker-1", life) == Lost("the link to its worker is lost (it is not linked)")
    knowledge.report("worker-1", [replica()])
    assert knowledge.lost("worker-1", life) is None
    knowledge.report("worker-1", [replica(state=ReplicaState.FAILED, exit_status="exit code 1")])
    assert knowledge.lost("worker-1", life) == Lost("exit code 1", died=True)
    knowledge.report("worker-1", gone=[life.key])
    assert knowledge.lost("worker-1", life) == Lost("its replica was stopped")
    knowledge.lose("worker-1", "6 beats missed")
    assert knowledge.lost("worker-1", life) == Lost("the link to its worker is lost (6 beats missed)")
    assert knowledge.lost("worker-2", life) == Lost("the link to its worker is lost (it is not linked)")
