"""A real llama.cpp server in a process of its own: ``python llama_server.py SOCKET MODEL``.

It ends when its standard input does, so that it cannot outlive the tests.
"""

from __future__ import annotations

import os
import sys

import xllamacpp


def main(socket: str, model: str) -> None:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.n_ctx = 4096
    parameters.n_parallel = 2
    parameters.hostnames = [socket]
    parameters.endpoint_metrics = True
    parameters.embedding = True
    parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    parameters.cpuparams.n_threads = 1  # two would wait for each other, on a machine that is busy
    server = xllamacpp.Server(parameters)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
