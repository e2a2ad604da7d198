"""What is promised of GPUs, each promise tried on its own cluster."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import psutil

from bench.cold_suite.cluster import wait_for
from bench.gpu.lab import CACHE, CONTEXT, MIB, SLACK, WEIGHTS, WITHIN, Lab

Found = dict[str, Any]


def inventory(lab: Lab) -> Found:
    """The worker tells what GPUs it has, and what an engine was seen to have of their memory."""
    node = next(each for each in lab.cluster.nodes() if each["role"] == "worker")
    assert node["gpus_total"], "the worker says that it has no GPU"
    deployment = lab.deploy("one", auto_scaling_config={"min_instances": 1})
    lab.ready(deployment)
    used = lab.holds(1)

    def measured() -> int:
        return int(lab.instances(deployment)[0]["gpu_memory"]) // MIB

    wait_for(lambda: measured() >= WEIGHTS + CACHE, within=WITHIN, what="its GPU memory is measured")
    return {"gpus": node["gpus_total"], "used_mib": used, "measured_mib": measured()}


def freed_before_the_next_start(lab: Lab) -> Found:
    """An engine that is killed is started again, and its memory is back before."""
    deployment = lab.deploy("one")
    pid = lab.ready(deployment)["pid"]
    with lab.highest() as highest:
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: lab.ready(deployment)["pid"] != pid, within=WITHIN, what="it runs again")
        back = round(time.monotonic() - began, 2)
        most = highest()
    assert most <= WEIGHTS + CACHE + CONTEXT + SLACK, f"{most} MiB: two lives at a time"
    lab.holds(1)
    return {"back_s": back, "most_mib": most}


def locks(lab: Lab) -> Found:
    """A whole GPU has one engine: the next one waits, and says for what."""
    lab.ready(lab.deploy("one", pinned=True))
    waiting = lab.deploy("two")
    time.sleep(3.0)
    described = lab.cluster.describe(waiting)
    assert described["state"] == "pending", described["state"]
    lab.holds(1)
    return {"detail": described["detail"]}


def two_on_one_gpu(lab: Lab) -> Found:
    """Two replicas share a GPU by the memory that they declare."""
    scaling = {"min_instances": 2, "max_instances": 2}
    share = (WEIGHTS + CACHE + CONTEXT) * 2**20
    deployment = lab.deploy("pair", gpu_memory=share, auto_scaling_config=scaling)
    wait_for(lambda: len(lab.instances(deployment)) == 2, within=WITHIN, what="there are two")
    lab.until(deployment, "ready")
    lab.ask("pair")
    return {"used_mib": lab.holds(2)}


def sleep(lab: Lab) -> Found:
    """An idle replica sleeps by itself, gives the GPU's memory back, and is woken by the next request."""
    found: Found = {}
    for level in (1, 2):
        scaling = {"keep_alive": 1, "sleep_level": level}
        deployment = lab.deploy(f"level{level}", auto_scaling_config=scaling)
        lab.ask(f"level{level}")
        lab.until(deployment, "asleep")
        asleep = lab.used()
        assert asleep <= CONTEXT, f"{asleep} MiB of an engine that sleeps"
        lab.cluster.update(deployment, {"auto_scaling_config": {"keep_alive": -1}})  # it is looked at awake
        woken = lab.ask(f"level{level}")
        found[str(level)] = {"asleep_mib": asleep, "first_word_s": woken, "awake_mib": lab.holds(1)}
        lab.cluster.delete(deployment)
    return found


def eviction(lab: Lab) -> Found:
    """Two models that want the whole GPU take turns; only one has its memory at a time."""
    lab.ready(lab.deploy("one"))
    lab.deploy("two", auto_scaling_config={"min_instances": 0})
    with lab.highest() as highest:
        waits = [lab.ask(model) for model in ("two", "one", "two", "one")]
        most = highest()
    assert most <= WEIGHTS + CACHE + 2 * CONTEXT + SLACK, f"{most} MiB: both had their memory"
    return {"first_word_s": waits, "most_mib": most}


def worker_dies(lab: Lab) -> Found:
    """A worker is killed: its engine goes with it before the next worker starts one."""
    deployment = lab.deploy("one", auto_scaling_config={"min_instances": 1})
    pid = lab.ready(deployment)["pid"]
    engine = psutil.Process(pid)
    worker = next(each for each in engine.parents() if each.cmdline()[0].startswith("sllm worker"))
    with lab.highest() as highest:
        began = time.monotonic()
        worker.kill()
        wait_for(lambda: not engine.is_running(), within=WITHIN, what="the engine of a dead worker is gone")
        gone = round(time.monotonic() - began, 2)
        wait_for(lambda: lab.ready(deployment)["pid"] != pid, within=WITHIN, what="it runs again")
        back = round(time.monotonic() - began, 2)
        most = highest()
    assert most <= WEIGHTS + CACHE + CONTEXT + SLACK, f"{most} MiB: two lives at a time"
    lab.holds(1)
    return {"engine_gone_s": gone, "back_s": back, "most_mib": most}


def all_die(lab: Lab) -> Found:
    """Every process is killed but the engine and its leash: no memory of the GPU stays in use."""
    pid = lab.ready(lab.deploy("one", auto_scaling_config={"min_instances": 1}))["pid"]
    leash, *ours = psutil.Process(pid).parents()
    top = [each for each in ours if each.cmdline()[0].startswith("sllm")][-1]
    for process in [top, *top.children(recursive=True)]:
        if process.pid not in (pid, leash.pid):
            process.kill()
    return {"free_after_s": lab.until_free()}


PROMISES: dict[str, Callable[[Lab], Found]] = {
    "inventory": inventory,
    "freed_before_the_next_start": freed_before_the_next_start,
    "locks": locks,
    "two_on_one_gpu": two_on_one_gpu,
    "sleep": sleep,
    "eviction": eviction,
    "worker_dies": worker_dies,
    "all_die": all_die,
}
