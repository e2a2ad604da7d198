"""Folders of models that vLLM loads, or cannot."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import httpx2
import pytest
from tests.e2e.cluster import Cluster, eventually

from .conftest import CACHE
from .family import DOCUMENT, deploy

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(420)]

MODEL = CACHE / "models" / "demo--smollm2-135m" / "files"
WEIGHTS = "model.safetensors"


def copy_by_links(snapshot: Path, blobs: Path) -> None:
    """Make what a hub's cache has, links to files that are called otherwise, with two files of weights."""
    snapshot.mkdir()
    blobs.mkdir()
    for file in MODEL.iterdir():
        if file.name != WEIGHTS:
            (snapshot / file.name).symlink_to(file)
    data = (MODEL / WEIGHTS).read_bytes()
    begin = 8 + struct.unpack_from("<Q", data)[0]
    tensors = json.loads(data[8:begin])
    tensors.pop("__metadata__", None)
    names = sorted(tensors)
    index: dict[str, str] = {}
    for number, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), 1):
        header, body = {}, bytearray()
        for name in part:
            first, last = (begin + offset for offset in tensors[name]["data_offsets"])
            offsets = [len(body), len(body) + last - first]
            header[name] = tensors[name] | {"data_offsets": offsets}
            body += data[first:last]
            index[name] = f"model-{number:05}-of-00002.safetensors"
        head = json.dumps(header | {"__metadata__": {"format": "pt"}}).encode()
        (blobs / f"{number}").write_bytes(struct.pack("<Q", len(head)) + head + body)
        (snapshot / f"model-{number:05}-of-00002.safetensors").symlink_to(blobs / f"{number}")
    (snapshot / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": index}))


def test_weights_in_several_files_that_are_links_are_served(cluster: Cluster, tmp_path: Path) -> None:
    copy_by_links(tmp_path / "snapshot", tmp_path / "blobs")
    deploy(cluster, DOCUMENT | {"model": "linked", "source": str(tmp_path / "snapshot")})
    try:
        answer = cluster.ask(model="linked", temperature=0)
        assert answer == cluster.ask(model=str(DOCUMENT["model"]), temperature=0)
    finally:
        shutil.rmtree(tmp_path / "blobs")
        httpx2.delete(f"{cluster.url}/deployments/linked:vllm", trust_env=False, timeout=60)


def test_weights_that_vllm_cannot_read_are_named_as_the_cause(cluster: Cluster, tmp_path: Path) -> None:
    """It happens in a process of a process of the engine, each of which logs a traceback of its own."""
    for file in MODEL.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / WEIGHTS).unlink()
    (tmp_path / WEIGHTS).write_bytes((MODEL / WEIGHTS).read_bytes()[:3_000_000])
    deploy(cluster, DOCUMENT | {"model": "broken", "source": str(tmp_path)})
    try:

        def failed() -> dict[str, object] | None:
            described = cluster.describe("broken:vllm") or {"instances": []}
            return next((each for each in described["instances"] if each["failures"]), None)

        instance = eventually(failed, within=200, what="it has failed")
    finally:
        httpx2.delete(f"{cluster.url}/deployments/broken:vllm", trust_env=False, timeout=60)
    cause = "SafetensorError: Error while deserializing header"
    assert f"before it was ready: {cause}" in str(instance["reason"])
    assert cause in str(instance["log_tail"])
