"""What a person or a script is shown of deployments and their replicas."""

from __future__ import annotations

from attrs import evolve
from tests.serving.picture.world import WALL, World

from sllm_actors.engines.gpu_figures import GpuFigures
from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.serving.deployment.document import write_document
from sllm_actors.serving.messages import Demand
from sllm_actors.serving.picture.events import DemandReported
from sllm_actors.serving.views.messages import DescribeDeployments, DescribeInstances

from .kit import ask, described, only_key

TWO = {"min_instances": 2, "max_instances": 2}
FOUR = {"min_instances": 4, "max_instances": 4}


def test_requests_that_wait_for_a_first_replica_are_shown_with_what_that_takes() -> None:
    world = World()
    world.worker("w1")
    known = world.deploy("m")
    (replica,) = known.replicas
    began = world.now
    world.say("w1", replica, ReplicaState.STARTING)
    assert described(world, known)["expected_wait"] is None, "no request waits"
    world.send(DemandReported("g1", (Demand(known.id, held=3),)))
    assert described(world, known)["expected_wait"] is None, "nothing was measured"
    known.starts_in = 12.0
    for passed, left in ((0.0, 12.0), (5.0, 7.0), (30.0, 0.0)):
        world.now = began + passed
        world.send(DemandReported("g1"))  # its beat
        assert described(world, known)["expected_wait"] == left
    world.say("w1", replica, ReplicaState.ASLEEP)
    known.wakes_in = 2.0
    assert described(world, known)["expected_wait"] == 2.0
    world.say("w1", replica, ReplicaState.READY)
    assert described(world, known)["expected_wait"] is None, "they wait for room"


def state(world: World, deployment: object) -> tuple[str, str]:
    shown = described(world, deployment)  # type: ignore[arg-type]
    return shown["state"], shown["detail"]


def test_a_deployment_shows_what_it_is_and_what_runs() -> None:
    world = World()
    world.worker("w1")
    known = world.deploy("m", auto_scaling_config=TWO)
    first, second = sorted(known.replicas)
    world.now = 5.0
    said = {"address": "unix:/x", "pid": 7, "since": 2.0, "starts": 3}
    measured = {"memory": 300, "gpu_memory": 200, "waiting": 5, "kv_used": 85}
    world.say("w1", first, ReplicaState.READY, **said, **measured)
    for gateway, held, in_flight in (("g1", 3, 0), ("g2", 0, 1)):
        world.send(DemandReported(gateway, (Demand(known.id, held, in_flight),)))
    shown = described(world, known)
    instances = shown.pop("instances")
    assert shown == {
        "id": "m:command",
        "uid": "uid-1",
        "model": "m",
        "backend": "command",
        "revision": 1,
        "generation": 1,
        "status": "active",
        "state": "ready",
        "detail": "",
        "rollout": None,
        "ready_replicas": 1,
        "asleep_replicas": 0,
        "desired_replicas": 2,
        "held": 3,
        "held_since": WALL + 5.0,
        "idle_since": None,
        "keep_alive_left": None,
        "memory": 300,
        "memory_by": "measured",
        "gpu_memory": 0,
        "gpu_memory_by": "",
        "gpu_memory_of": "",
        "priority": 0,
        "pinned": False,
        "in_flight": 1,
        "gateways": 2,
        "expected_wait": None,
        "recovered": False,
        "created": WALL,
        "since": 2.0,
        "spec": write_document(known.spec),
        "events": [],
    }
    assert instances[0] == {
        "id": f"{first}.3",
        "revision": 1,
        "node": "w1",
        "node_name": "w1",
        "node_state": "up",
        "state": "ready",
        "failures": 0,
        "progress": "",
        "reason": "",
        "exit_status": "",
        "log_tail": [],
        "address": "unix:/x",
        "endpoint": None,
        "pid": 7,
        "gpus": 0,
        "since": 2.0,
        "retry_in": None,
        "level": None,
        "gpu_share": 0,
        **measured,
    }
    assert (instances[1]["id"], instances[1]["state"]) == (f"{second}.0", "starting")


def test_one_that_sleeps_shows_how_deep() -> None:
    world = World()
    world.worker("w1")
    known = world.deploy("m")
    (key,) = known.replicas
    world.ready()
    world.say("w1", key, ReplicaState.ASLEEP, level=2)
    (shown,) = described(world, known)["instances"]
    assert (shown["state"], shown["level"]) == ("asleep", 2)


def test_a_replica_is_pending_until_its_worker_has_said_something_of_it() -> None:
    world = World()
    world.worker("w1")
    world.machines["w1"].linked = False  # it is sent orders, and does not answer
    world.now = 9.0
    known = world.deploy("m")
    (instance,) = described(world, known)["instances"]
    assert (instance["state"], instance["progress"]) == ("pending", "ordered from its worker")
    assert instance["since"] == WALL + 9.0
    assert instance["id"] == f"{only_key(known)}.0"
    assert state(world, known) == ("pending", "a worker has been asked to start it")
    assert described(world, known)["since"] == WALL + 9.0


def test_what_a_replica_waits_for_on_its_worker_is_shown() -> None:
    world = World()
    world.worker("w1")
    known = world.deploy("m")
    world.say("w1", only_key(known), ReplicaState.PENDING)
    assert state(world, known) == ("pending", "a worker has been asked to start it")
    world.say("w1", only_key(known), ReplicaState.PENDING, progress="it waits for 1 GPU")
    assert state(world, known) == ("pending", "it waits for 1 GPU")


def test_the_best_replica_speaks_for_the_deployment() -> None:
    world = World()
    world.worker("w1")
    known = world.deploy("m", auto_scaling_config=FOUR)
    keys = sorted(known.replicas)
    for key in keys:
        world.say("w1", key, ReplicaState.FAILED, reason="out of memory", failures=1)
    assert state(world, known) == ("failed", "out of memory")
    world.say("w1", keys[1], ReplicaState.STARTING, progress="loading", since=4.0)
    assert state(world, known) == ("starting", "loading")
    world.say("w1", keys[2], ReplicaState.ASLEEP)
    assert state(world, known) == ("asleep", "it sleeps: the next request wakes it")
    world.say("w1", keys[3], ReplicaState.READY)
    assert state(world, known) == ("ready", "")
    assert described(world, known)["ready_replicas"] == 1


def test_an_engine_that_fails_over_and_over_is_shown_as_a_crash_loop() -> None:
    world = World()
    world.worker("w1")
    known = world.deploy("m", auto_scaling_config=TWO)
    again, once = sorted(known.replicas)
    world.say("w1", once, ReplicaState.STARTING, progress="loading", failures=2)
    assert state(world, known)[0] == "starting"
    world.say("w1", again, ReplicaState.STARTING, reason="killed by SIGSEGV", failures=4)
    crashes = "it failed 4 times in a row: killed by SIGSEGV; no other worker has a place for it"
    assert state(world, known) == ("crash_loop", crashes)
    world.say("w1", once, ReplicaState.STARTING, reason="out of memory", failures=3)
    crashes = "it failed 4 times in a row: killed by SIGSEGV; no other worker has a place for it"
    assert state(world, known) == ("crash_loop", crashes)
    shown = described(world, known)["instances"]
    assert [(each["state"], each["failures"]) for each in shown] == [("crash_loop", 4), ("crash_loop", 3)]
    world.say("w1", once, ReplicaState.READY, failures=7)  # it has stopped failing
    assert state(world, known) == (
        "ready",
        "1 of its replicas fails over and over (4 times in a row): killed by SIGSEGV",
    )


def test_of_several_that_crash_the_one_that_failed_most_often_speaks() -> None:
    world = World()
    world.worker("w1")
    known = world.deploy("m", auto_scaling_config={"min_instances": 3, "max_instances": 3})
    first, second, third = sorted(known.replicas)
    world.say("w1", first, ReplicaState.FAILED, reason="first", failures=3)
    world.say("w1", second, ReplicaState.FAILED, reason="second", failures=5)
    assert state(world, known) == (
        "crash_loop",
        "it failed 5 times in a row: second; no other worker has a place for it",
    )
    world.say("w1", third, ReplicaState.READY)
    assert state(world, known) == (
        "ready",
        "2 of its replicas fail over and over (5 times in a row): second",
    )


def test_a_deployment_that_serves_tells_that_not_all_of_it_has_a_place() -> None:
    world = World()
    world.worker("w1", gpus=1)
    known = world.deploy("m", num_gpus=1, auto_scaling_config=TWO)
    world.ready()
    lacks = "w1 has 0 of 1 free: m:command (min_instances) has it"
    assert state(world, known) == (
        "ready",
        f"not all of its replicas have a place: no worker has 1 free GPU for it ({lacks})",
    )


def test_a_deployment_without_a_place_says_why_since_when_and_when_it_is_too_late() -> None:
    world = World()
    world.wait(3.0)
    known = world.deploy("m", num_gpus=2, startup_timeout=60)
    missing = "no worker is connected: start one with `sllm worker --head HOST:8000`"
    assert state(world, known) == ("pending", missing)
    world.wait(61.0)
    assert state(world, known) == (
        "failed",
        f"it found no place within 60 s: {missing}; it starts as soon as there is one",
    )
    assert described(world, known)["since"] == WALL + 3.0


def test_a_worker_is_being_chosen_before_numbers_are_reserved() -> None:
    world = World()
    known = world.deploy("m")
    known.wait = None
    assert state(world, known) == ("pending", "a worker is being chosen")
    assert described(world, known)["since"] == known.created


def test_a_head_that_has_just_started_says_that_it_waits_for_its_workers() -> None:
    world = World()
    world.worker("w1")
    known = world.deploy("m")
    for machine, sentence in (
        ("w2", "2 workers that it knows"),
        (None, "1 worker that it knows"),
    ):
        if machine:
            world.worker(machine)
        else:
            del world.store.nodes["w2"]
        world.begin_head()
        known = world.picture.catalogue.by_uid[known.uid]
        waits = f"the head has just started and waits for {sentence} to report"
        assert state(world, known) == ("pending", waits)
    world.store.nodes.clear()
    world.store.fresh = True  # the database is lost, and deployments were restored from the file beside it
    world.begin_head()
    known = world.picture.catalogue.by_uid[known.uid]
    assert state(world, known)[1] == "the head has just started and waits for its workers to report"


def test_a_deletion_shows_what_is_left() -> None:
    world = World()
    world.worker("w1")
    known = world.deploy("m")
    world.machines["w1"].linked = False  # so that its engine does not end at once
    world.delete(known)
    shown = described(world, known)
    assert (shown["status"], shown["state"], shown["desired_replicas"]) == ("deleting", "deleting", 0)
    assert shown["detail"] == "1 of its replicas is still ending"
    assert shown["instances"][0]["reason"] == "its deployment is being deleted"
    known.replicas.clear()
    assert state(world, known) == ("deleting", "")


def test_a_replica_on_a_worker_whose_link_is_lost_tells_that_it_may_be_old_news() -> None:
    world = World()
    world.worker("w1")
    known = world.deploy("m")
    world.ready()
    world.unlink("w1")
    (instance,) = described(world, known)["instances"]
    assert (instance["state"], instance["node_state"]) == ("ready", "suspect")


def test_an_external_server_is_shown_by_its_address_without_its_password() -> None:
    world = World()
    world.worker("w1")
    known = world.deploy(
        "m", backend="external", backend_config={}, endpoints=["http://a:1/v1", "http://b:1"]
    )
    first, second = sorted(known.replicas)
    failed = {"reason": "refused", "address": "http://me:secret@a:1/v1"}
    world.say("w1", first, ReplicaState.FAILED, **failed)
    shown = described(world, known)["instances"]
    assert {each["endpoint"] for each in shown} == {"http://a:1", "http://b:1"}
    assert "secret" not in str(shown)
    # One of a revision that is forgotten has the endpoints of today.
    replica = known.replicas[second]
    replica.key = evolve(second, revision=9)
    assert all(each["endpoint"] for each in described(world, known)["instances"])


def test_headers_that_carry_a_credential_are_shown_by_their_names_only() -> None:
    world = World()
    names = ("Authorization", "X-Api-Key", "api-key", "Cookie", "X-Auth-Token")
    headers = {**dict.fromkeys(names, "hunter2"), "X-Team": "blue"}
    known = world.deploy(
        "m", backend="external", endpoints=["http://a:1"], backend_config={"headers": headers}
    )
    shown = described(world, known)["spec"]["backend_config"]["headers"]
    assert shown == {**dict.fromkeys(names, "***"), "X-Team": "blue"}
    odd = world.deploy("n", backend_config={"command": ["run"], "headers": "odd"})
    assert described(world, odd)["spec"]["backend_config"]["headers"] == "odd"


def test_what_looks_like_a_secret_is_shown_nowhere() -> None:
    world = World()
    world.worker("w1")
    secret = "hunter2"
    known = world.deploy(
        "m",
        backend_config={
            "command": ["run", "--api-key", secret, "--seed=1"],
            "hf_token": secret,
            "n_ctx": 5,
        },
        env={"MY_TOKEN": secret, "MODE": "fast"},
        secret_env={"HF_TOKEN": "env:TOKEN_OF_THE_WORKER"},
    )
    world.ready()
    shown = described(world, known)
    assert secret not in str(shown)
    assert secret not in str(ask(world, DescribeDeployments()))
    assert secret not in str(ask(world, DescribeInstances()))
    assert shown["spec"]["backend_config"]["n_ctx"] == 5
    assert shown["spec"]["env"]["MODE"] == "fast"
    assert shown["spec"]["secret_env"] == {"HF_TOKEN": "env:TOKEN_OF_THE_WORKER"}


def test_a_list_of_deployments_leaves_their_settings_out() -> None:
    world = World()
    world.deploy("m")
    (shown,) = ask(world, DescribeDeployments())["deployments"]
    assert "spec" not in shown


def test_a_replica_that_no_deployment_wants_is_shown_on_its_worker() -> None:
    world = World()
    world.worker("w1")
    known = world.deploy("m")
    world.ready()
    rival = evolve(only_key(known), uid="another")
    world.machines["w1"].slow = True  # it drains first
    world.machines["w1"].running[rival] = ReplicaReport(rival.attempt(1), ReplicaState.READY)
    world.unlink("w1")
    world.link("w1")
    shown = ask(world, DescribeInstances(node="w1"))
    assert sorted(each["id"] for each in shown) == [f"{rival}.0"] * 2
    assert [each["deployment"] for each in ask(world, DescribeInstances())] == ["m:command"]


def test_a_replica_that_can_be_moved_is_not_said_to_stay() -> None:
    world = World()
    world.worker("w1")
    known = world.deploy("m")
    known.replicas[only_key(known)].report = ReplicaReport(
        only_key(known).attempt(1), ReplicaState.FAILED, reason="killed", failures=3
    )
    assert state(world, known) == ("crash_loop", "it failed 3 times in a row: killed")


def test_a_deployment_that_was_taken_back_from_workers_is_shown_as_recovered() -> None:
    world = World()
    world.worker("w1")
    known = world.deploy("m")
    world.ready()
    before = described(world, known)
    world.lose_store()
    world.wait(11)
    after = described(world, known)
    assert (before["recovered"], after["recovered"]) == (False, True)
    assert after["uid"] == before["uid"]


def test_it_is_told_how_much_of_a_gpu_a_replica_takes_and_where_that_is_from() -> None:
    world = World()
    world.worker("w1", gpus=1)
    known = world.deploy("m", backend="vllm", gpu_memory="auto")

    def told() -> tuple[int, str, str]:
        shown = described(world, known)
        return shown["gpu_memory"], shown["gpu_memory_by"], shown["gpu_memory_of"]

    assert told() == (0, "unknown", "")
    (key,) = known.replicas
    world.say("w1", key, ReplicaState.READY, gpu_figures=GpuFigures(10**9, 10**5, 1000))
    made = "1.0 GB for weights + 2.2 GB beside them + 100 MB for each of 8 requests of 1000 tokens"
    size, *where = told()
    assert where == ["estimated", made]
    assert size % 2**20 == 0
    assert described(world, known)["instances"][0]["gpu_share"] == 0, "that one has the GPU whole"
    world.update(known, backend="vllm", gpu_memory=300)
    assert told() == (300, "declared", "")


def test_it_is_told_by_which_figure_a_replica_is_placed() -> None:
    world = World()
    world.worker("w1")
    known = world.deploy("m")

    def told() -> tuple[int, str]:
        shown = described(world, known)
        return shown["memory"], shown["memory_by"]

    assert told() == (0, "")
    for _ in range(2):
        world.picture.take_size(known.spec, 500, 0.0)
        assert told() == (500, "files")
    (key,) = known.replicas
    world.say("w1", key, ReplicaState.READY, memory=700)
    assert told() == (700, "measured")
    world.update(known, memory=300)
    assert told() == (300, "declared")
