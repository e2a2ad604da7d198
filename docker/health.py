#!/usr/bin/env python3
"""The health check of a container. It ends with 0 if the nodes that MODE names answer, else with 1.

A gateway and a head are asked by HTTP. A worker talks only to nodes of its cluster: it closes the connection
of whoever connects and leaves at once, which a worker that hangs does not.
"""

from __future__ import annotations

import http.client
import os
import socket
import sys
from collections.abc import Mapping

TIMEOUT = 4.0
"""Seconds for each answer: below what the image gives the whole check."""

CLUSTER_PORT = 8000
WORKER_PORT = 8002


def main() -> int:
    try:
        check(os.environ)
    except OSError as error:
        sys.stdout.write(f"{error}\n")
        return 1
    return 0


def check(environment: Mapping[str, str]) -> None:
    """Ask each node.

    Raises:
        OSError: One does not answer, or not well.
    """
    mode = environment.get("MODE", "")
    if mode in ("WORKER", "PYLET_WORKER"):
        closes("127.0.0.1", WORKER_PORT)
        return
    host = reachable(environment.get("HEAD_HOST") or "0.0.0.0")
    if mode == "HEAD" and not environment.get("PYLET_ENDPOINT"):
        answers(host, CLUSTER_PORT, "/cluster")
    answers(host, int(environment.get("HEAD_PORT") or 8343), "/health")


def reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def answers(host: str, port: int, path: str) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except http.client.HTTPException as error:
        raise OSError(f"port {port} does not answer HTTP: {error!r}") from None
    except OSError as error:
        raise OSError(f"port {port} does not answer: {error}") from None
    finally:
        connection.close()
    if status != http.client.OK:
        raise OSError(f"port {port} answers {path} with {status}")


def closes(host: str, port: int) -> None:
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT) as connection:
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
    except OSError as error:
        raise OSError(f"the worker at port {port} does not answer: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
