"""How many descriptors there are, what is promised from them, and how their end is told."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.descriptors import no_descriptors

from sllm_actors import descriptors
from sllm_actors.descriptors import gateway_share, is_out_of_descriptors, transport_share

limits = st.one_of(st.integers(16, 4096), st.integers(16, 2**31))


@given(limits)
def test_a_gateway_promises_no_more_than_it_has_and_keeps_some_back(limit: int) -> None:
    share = gateway_share(limit)
    assert 1 <= share.requests <= share.connections
    assert share.connections + share.requests <= limit - min(descriptors.MOST_RESERVED, limit // 4)


@given(limits)
def test_a_transport_has_room_for_its_connections_and_for_the_engines_socket_of_each_tunnel(
    limit: int,
) -> None:
    share = transport_share(limit)
    assert share.tunnels >= 1
    assert share.connections >= 1
    assert share.connections + share.tunnels <= limit - min(descriptors.MOST_RESERVED, limit // 4)


def test_with_enough_of_them_everything_is_promised() -> None:
    assert gateway_share(2**16) == descriptors.GatewayShare(20_000, 10_000)
    assert transport_share(2**16) == descriptors.TransportShare(8_192, 10_000)


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    program = (
        "import resource; from sllm_actors import descriptors as d; before = d.limit();"
        "print(before, d.raise_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    command = ["prlimit", "--nofile=100:1000", sys.executable, "-c", program]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert said.split() == ["100", "1000", "1000", "1000"]


def test_running_out_is_known_by_whatever_it_was_wrapped_in() -> None:
    with no_descriptors(), pytest.raises(OSError, match="Too many open files") as caught:
        os.open("/dev/null", os.O_RDONLY)
    assert is_out_of_descriptors(caught.value)
    assert descriptors.explain(caught.value).startswith("no file descriptors are left here (ulimit -n: ")
    wrapped = OSError("all attempts failed")
    wrapped.__cause__ = ExceptionGroup("attempts", [ValueError(), OSError(errno.ENFILE, "too many")])
    assert is_out_of_descriptors(ExceptionGroup("tasks", [wrapped]))


def test_another_failure_is_told_as_it_is() -> None:
    refused = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    assert not is_out_of_descriptors(refused)
    assert not is_out_of_descriptors(anyio.BrokenResourceError())
    assert not is_out_of_descriptors(None)
    assert descriptors.explain(refused) == "Connection refused"
