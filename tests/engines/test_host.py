"""Folders, names and numbers of a worker's engines."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from sllm_actors.engines.folders import LONGEST_SOCKET_PATH
from sllm_actors.engines.host import EngineHost, machine_id, open_host
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.ownership.attempts import BLOCK, Attempts

KEY = ReplicaKey("m:llamacpp", 1, 1)


def test_attempts_rise_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / "attempts"
    first = Attempts(path)
    assert [first.next() for _ in range(BLOCK + 2)] == list(range(1, BLOCK + 3))
    again = Attempts(path).next()
    assert again > BLOCK + 2


def test_an_attempt_that_cannot_be_recorded_is_not_given_out(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path / "gone" / "attempts")
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            attempts.next()


def test_a_socket_name_is_never_used_twice_and_a_log_goes_on(host: EngineHost) -> None:
    life = KEY.attempt(1)
    assert host.folders.paths_for(life).socket != host.folders.paths_for(life).socket
    assert host.folders.paths_for(life).log == host.folders.paths_for(KEY.attempt(2)).log
    assert host.folders.paths_for(life).log != host.folders.log_of(ReplicaKey("m:llamacpp", 2, 1))


@pytest.mark.parametrize("length", [1, 20, 40, 60, 120])
def test_sockets_stay_short_and_private_wherever_the_data_is(folder: Path, length: int) -> None:
    host = open_host(folder / ("d" * length))
    paths = host.folders.paths_for(KEY.attempt(1))
    own_of_vllm = paths.tmpdir / str(uuid.uuid4())
    try:
        assert max(len(str(paths.socket)), len(str(own_of_vllm))) <= LONGEST_SOCKET_PATH
        assert host.folders.runtime.stat().st_mode & 0o777 == 0o700
    finally:
        host.folders.tmp.rmdir()
        host.folders.runtime.rmdir()


def test_a_folder_that_is_a_link_to_elsewhere_is_refused(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "run").symlink_to(folder / "elsewhere")
    with pytest.raises(PermissionError, match="belongs to somebody else"):
        open_host(folder)


@pytest.mark.slow
def test_a_machine_has_one_name_for_all_its_processes() -> None:
    script = "from sllm_actors.engines.host import machine_id; print(machine_id())"
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == machine_id()
