"""What a document says a replica takes, and where it may go."""

from __future__ import annotations

import json

import attrs
import pytest

from sllm_actors.serving.deployment.changes import is_engine_change
from sllm_actors.serving.deployment.contradictions import SCALED
from sllm_actors.serving.deployment.document import read_document, write_document
from sllm_actors.serving.deployment.spec import Scaling

from .documents import problem, read


@pytest.mark.slow
@pytest.mark.parametrize(("given", "size"), [(5, 5), ("6GiB", 6 * 2**30), ("1.5 GB", 1_500_000_000)])
def test_memory_is_a_number_of_bytes_or_a_size(given: object, size: int) -> None:
    assert read(memory=given).memory == size


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("car", "memory: 'car' is not a size: write one like 200GB, 1.5TB or 64GiB"),
        ("6 apples", "memory: '6 apples' is not a size: write one like 200GB, 1.5TB or 64GiB"),
        ("9" * 400, "memory: '999999999999'… is more bytes than any disk or memory has"),
        (0, "memory must be from 1 byte to 1024 TiB, not 0"),
        (True, "memory: true is not a whole number"),
        (1.5, "memory: 1.5 is not a whole number"),
    ],
)
def test_memory_that_is_no_size_is_refused(given: object, sentence: str) -> None:
    assert problem(memory=given) == ("memory", sentence)


def test_the_servers_of_somebody_else_take_no_memory_of_ours() -> None:
    assert problem(backend="external", endpoints=["http://a"], memory=5) == (
        "memory",
        "memory means nothing to the external backend: leave it out",
    )


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("target", 4),
        ("min_instances", 0),
        ("max_instances", 2),
        ("scale_down_delay", 1),
        ("keep_alive", 60),
        ("sleep_level", 0),
        ("sleep_keep_alive", 5),
        ("learn_keep_alive", True),
        ("schedules", [{"cron": "0 8 * * *", "duration": 60, "min_instances": 0}]),
    ],
)
def test_the_servers_of_somebody_else_are_not_scaled(key: str, given: object) -> None:
    servers = {"backend": "external", "endpoints": ["http://a", "http://b"]}
    assert problem(**servers, auto_scaling_config={key: given}) == (
        f"auto_scaling_config.{key}",
        f"{key} means nothing to the external backend: it has one replica for each endpoint",
    )
    ours = read(
        backend="command", backend_config={"command": ["/x", "$PORT"]}, auto_scaling_config={key: given}
    )
    assert ours.backend == "command"


@pytest.mark.parametrize(("key", "given"), [("priority", 5), ("pinned", True), ("preload", True)])
def test_the_servers_of_somebody_else_take_no_room_that_they_could_keep(key: str, given: object) -> None:
    sentence = f"{key} means nothing to the external backend: its servers take no room here"
    assert problem(backend="external", endpoints=["http://a"], **{key: given}) == (key, sentence)
    default = getattr(read(), key)
    assert getattr(read(backend="external", endpoints=["http://a"], **{key: default}), key) == default


def test_what_says_how_many_replicas_there_are_may_be_said_as_it_is_anyway() -> None:
    known = attrs.asdict(Scaling(), recurse=False)
    assert known == {**SCALED, "metric": "concurrency"}, "every key of it means nothing there, but for metric"
    written = {key: value for key, value in known.items() if value not in (None, ())}
    assert read(backend="external", endpoints=["http://a"], auto_scaling_config=written).scaling == Scaling()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("zone=a", "node_selector must be an object of keys and values"),
        ({"zone": 1}, "node_selector.zone: 1 is not a text"),
        ({"": "a"}, "node_selector cannot have '': a label has a name"),
        ({"a": "x\n"}, "node_selector cannot have 'a': a label has a name"),
        ({str(number): "" for number in range(65)}, "node_selector must be at most 64 labels, not 65"),
    ],
)
def test_labels_that_cannot_be_are_refused(given: object, sentence: str) -> None:
    assert problem(node_selector=given)[1].startswith(sentence)
    assert read(node_selector={"zone": "a"}).node_selector == {"zone": "a"}


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"num_gpus": 0}, "gpu_memory means nothing without a GPU: give num_gpus too, or leave it out"),
        (
            {"backend": "llamacpp"},
            "gpu_memory means nothing without a GPU: give num_gpus too, or leave it out",
        ),
        (
            {"backend_config": {"gpu_memory_utilization": 0.5}},
            "gpu_memory and gpu_memory_utilization both say how much of a GPU a replica has: keep gpu_memory",
        ),
    ],
)
def test_a_share_of_a_gpu_is_said_once_and_of_a_gpu(document: dict[str, object], sentence: str) -> None:
    assert problem(gpu_memory="20GiB", **document) == ("gpu_memory", sentence)
    assert read(gpu_memory="20GiB").gpu_memory == 20 * 2**30


@pytest.mark.parametrize("given", ["auto", " AUTO"])
def test_a_share_of_a_gpu_may_be_estimated(given: str) -> None:
    spec = read(gpu_memory=given)
    assert spec.gpu_memory == "auto"
    assert read_document(json.dumps(write_document(spec)))[0] == spec
    assert is_engine_change(spec, read()), "it is what engines are started with"


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"num_gpus": 0}, "gpu_memory means nothing without a GPU: give num_gpus too, or leave it out"),
        (
            {"backend": "llamacpp", "num_gpus": 1},
            "gpu_memory auto is reckoned for vllm and sglang only: give llamacpp the bytes, as 6GiB",
        ),
        (
            {"backend_config": {"gpu_memory_utilization": 0.5}},
            "gpu_memory and gpu_memory_utilization both say how much of a GPU a replica has: keep gpu_memory",
        ),
    ],
)
def test_it_is_not_where_nothing_tells_it(document: dict[str, object], sentence: str) -> None:
    assert problem(gpu_memory="auto", **document) == ("gpu_memory", sentence)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("car", "gpu_memory: 'car' is not a size: write one like 200GB, 1.5TB or 64GiB, or auto"),
        (0, "gpu_memory must be from 1 byte to 1024 TiB, not 0"),
        ([], "gpu_memory: [] is not a whole number"),
    ],
)
def test_a_share_that_is_no_size_is_refused(given: object, sentence: str) -> None:
    assert problem(gpu_memory=given) == ("gpu_memory", sentence)
