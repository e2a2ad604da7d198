"""Deployments as hypothesis makes them, valid ones; and documents that may be anything."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from sllm_actors.serving.deployment.schedule import Schedule
from sllm_actors.serving.deployment.spec import DeploymentSpec, Scaling

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-2, 2) | st.text("aä\u2028", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        # A merge patch cannot say null inside a table: there it means that the key is to go.
        | st.dictionaries(st.sampled_from("xyz"), inner.filter(lambda value: value is not None), max_size=2)
    ),
    max_leaves=4,
)
SETTINGS = st.dictionaries(
    st.sampled_from(["dtype", "lora_modules", "max_model_len", "extra_args", "a.b"]),
    VALUES.filter(lambda value: value is not None),
    max_size=3,
)
VARIABLES = st.dictionaries(st.sampled_from(["A", "B", "HF_TOKEN"]), st.text("x=", max_size=2), max_size=2)
SECRETS = st.dictionaries(st.sampled_from(["C", "D"]), st.just("env:X"), max_size=2)
SCALINGS = st.builds(
    Scaling,
    target=st.integers(1, 4),
    min_instances=st.none() | st.integers(0, 2),
    max_instances=st.integers(2, 4),
    scale_down_delay=st.sampled_from([0.0, 300.0]),
    keep_alive=st.sampled_from([-1.0, 0.0, 60.0]),
    learn_keep_alive=st.booleans(),
    schedules=st.lists(
        st.builds(
            Schedule,
            cron=st.just("0 8 * * *"),
            duration=st.sampled_from([60.0, 3600.0]),
            target=st.integers(1, 3),
        ),
        max_size=2,
    ).map(tuple),
)
COMMON: dict[str, Any] = {
    "scaling": SCALINGS,
    "settings": SETTINGS,
    "startup_timeout": st.sampled_from([1.0, 600.0]),
    "drain_timeout": st.sampled_from([0.0, 30.0]),
    "hold_limit": st.sampled_from([0, 1024]),
    "hold_timeout": st.sampled_from([2.5, 300.0]),
}
ENGINES = st.builds(
    DeploymentSpec,
    model=st.just("m"),
    backend=st.just("vllm"),
    source=st.sampled_from(["", "hf:a/b", "/models/a"]),
    num_gpus=st.none() | st.integers(0, 2),
    memory=st.none() | st.integers(1, 2**40),
    node_selector=st.dictionaries(st.sampled_from(["zone", "disk"]), st.sampled_from("ab"), max_size=2),
    env=VARIABLES,
    secret_env=SECRETS,
    priority=st.integers(-1, 1),
    pinned=st.booleans(),
    preload=st.booleans(),
    **COMMON,
)
SERVERS = st.builds(
    DeploymentSpec,
    model=st.just("m"),
    backend=st.just("external"),
    endpoints=st.lists(
        st.sampled_from(["http://a", "http://b:1", "https://c"]), min_size=1, max_size=2, unique=True
    ).map(tuple),
    **COMMON | {"scaling": st.just(Scaling())},
)
PAIRS = st.tuples(ENGINES, ENGINES) | st.tuples(SERVERS, SERVERS)
"""Two deployments of one id."""

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None), max_size=8)
    | st.sampled_from(["http://a:1", "external", "vllm", "m"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
SCALING_KEYS = ["metric", "target", "target_ongoing_requests", "min_instances", "max_instances", "keep_alive"]
SETTINGS_KEYS = ["torch_dtype", "dtype", "pretrained_model_name_or_path", "device_map", "x"]
KEYS = [
    "model",
    "backend",
    "source",
    "num_gpus",
    "endpoint",
    "endpoints",
    "router_config",
    "hold_timeout",
    "pinned",
    "preload",
]
OLDER_SCALING = st.dictionaries(st.sampled_from(SCALING_KEYS), JSON, max_size=3)
OLDER_SETTINGS = st.dictionaries(st.sampled_from(SETTINGS_KEYS), JSON, max_size=3)
DOCUMENTS = st.builds(
    lambda plain, scaling, settings: {**plain, **scaling, **settings},
    st.dictionaries(st.sampled_from(KEYS), JSON, max_size=5),
    st.dictionaries(st.just("auto_scaling_config"), OLDER_SCALING | JSON),
    st.dictionaries(st.just("backend_config"), OLDER_SETTINGS | JSON),
)
"""Documents with the keys of deployments, old and new, and any values."""
