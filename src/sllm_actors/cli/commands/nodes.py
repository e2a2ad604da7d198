"""``sllm up``, ``head``, ``worker`` and ``gateway``: run nodes on this machine, in the foreground.

Each command passes its options to the launcher as one object of ``nodes.options``.
"""

from __future__ import annotations

from typing import Any

import click

from sllm_actors.cli.errors import CommandFailure
from sllm_actors.cli.manual import NODE_STATUSES, RUNNING, ManualCommand
from sllm_actors.cli.options.node import (
    MOST_GATEWAYS,
    engine_options,
    gateway_count,
    head_address,
    head_ports,
    node_options,
    public_options,
    worker_port,
)
from sllm_actors.cli.parameters import TEXT, WholeRange
from sllm_actors.cluster.tls_files import PublicTlsFiles, TlsFiles
from sllm_actors.nodes.options import GatewayOptions, HeadOptions, NodeOptions, UpOptions, WorkerOptions

PUBLIC_FLAGS = ("--public-tls-cert", "--public-tls-key")
TLS_FLAGS = ("--tls-cert", "--tls-key", "--tls-ca")


def launch(chosen: NodeOptions) -> None:
    """Run nodes until they are stopped.

    Raises:
        CommandFailure: The nodes cannot be started, or one cannot run as it is set up.
    """
    # Imported here, since other commands should not have to wait for it.
    from sllm_actors.nodes.launcher.launcher import run
    from sllm_actors.nodes.launcher.listening import LauncherProblem
    from sllm_actors.nodes.launcher.plan import make_plan

    try:
        run(make_plan(chosen))
    except LauncherProblem as problem:
        raise CommandFailure(str(problem)) from None


def with_tls(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options with the three files for TLS made one value, ``tls``; None where none is given.

    Raises:
        click.UsageError: Some of the three files are given, but not all.
    """
    files, rest = _apart(given, TLS_FLAGS)
    missing = _missing(files)
    if 0 < len(missing) < len(files):
        raise click.UsageError(
            f"--tls-cert, --tls-key and --tls-ca go together: give {' and '.join(missing)} too, or none"
        )
    return {**rest, "tls": None if missing else TlsFiles(*files.values())}


def with_public_tls(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options of TLS for the OpenAI API made one value, ``public_tls``; None where none is given.

    Raises:
        click.UsageError: One of the two files is given without the other, or ``--http2`` without them.
    """
    files, rest = _apart(given, PUBLIC_FLAGS)
    http2 = rest.pop("http2")
    missing = _missing(files)
    if len(missing) == 1:
        raise click.UsageError(
            f"--public-tls-cert and --public-tls-key go together: give {missing[0]} too, or neither"
        )
    if missing and http2:
        raise click.UsageError("--http2 needs TLS: give --public-tls-cert and --public-tls-key too")
    certificate, key = files.values()
    return {**rest, "public_tls": None if missing else PublicTlsFiles(certificate, key, http2)}


def _apart(given: dict[str, Any], flags: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values of these flags, by flag, and all other options."""
    rest = dict(given)
    return {flag: rest.pop(flag.lstrip("-").replace("-", "_")) for flag in flags}, rest


def _missing(files: dict[str, Any]) -> list[str]:
    return [flag for flag, path in files.items() if path is None]


@click.command(
    cls=ManualCommand,
    short_help="Run everything on this machine, and stop all with ^C.",
    variables=(*RUNNING, "STORAGE_PATH"),
    statuses=NODE_STATUSES,
    examples=[
        ("Try it with a small chat model", "sllm up --demo"),
        (
            "Serve to other machines, too, which need the key in the file admin-key",
            "sllm up --host 0.0.0.0",
        ),
        (
            "Keep models on a large disk, and at most 500 GB of them",
            "sllm up --storage-path /mnt/models --storage-quota 500GB",
        ),
    ],
)
@click.option("--demo", is_flag=True, help="Also deploy a small chat model, as smollm2-135m:llamacpp.")
@gateway_count
@head_ports
@worker_port("--worker-port")
@node_options("127.0.0.1")
@engine_options
def up(**given: Any) -> None:
    """Run everything on this machine: head, one worker, one gateway. ^C stops all of it."""
    launch(UpOptions(**with_public_tls(with_tls(given))))


@click.command(
    cls=ManualCommand,
    short_help="Run the head: it keeps the state and decides what runs where.",
    variables=(*RUNNING, "SLLM_DATABASE_URL"),
    statuses=NODE_STATUSES,
    examples=[
        ("Run the head and a gateway; the cluster secret is then in the data directory", "sllm head"),
        (
            "Run it with three gateways that share a port, by HTTPS",
            "sllm head --gateways 3 --public-tls-cert llm.pem --public-tls-key llm.key",
        ),
        (
            "Keep the state in PostgreSQL",
            "sllm head --database-url postgresql://sllm@db.example/sllm",
        ),
    ],
)
@click.option(
    "--gateways",
    type=WholeRange(min=0, max=MOST_GATEWAYS),
    default=1,
    show_default=True,
    help="Gateway processes beside it.",
)
@head_ports
@node_options("every address")
@click.option(
    "--database-url",
    envvar="SLLM_DATABASE_URL",
    show_envvar=True,
    metavar="URL",
    show_default="the SQLite file state.db in the data directory",
    help="Database for state.",
)
def head(**given: Any) -> None:
    """Run the head: it keeps the cluster's state and decides what runs where."""
    launch(HeadOptions(**with_public_tls(with_tls(given))))


@click.command(
    cls=ManualCommand,
    short_help="Run a worker: this machine's GPUs and engines join.",
    variables=(*RUNNING, "STORAGE_PATH"),
    statuses=NODE_STATUSES,
    examples=[
        (
            "Join the cluster with all GPUs of this machine",
            "sllm worker --head head.example:8000 --secret-file secret",
        ),
        (
            "Give it a name and a label, and two of the GPUs",
            "sllm worker --head 192.0.2.1 --name rack-1 --label zone=a --gpus 2",
        ),
    ],
)
@head_address
@worker_port("--port")
@click.option(
    "--name",
    type=TEXT,
    show_default="the machine's host name",
    help="What this machine is called in sllm status --nodes.",
)
@node_options("every address")
@engine_options
def worker(**given: Any) -> None:
    """Run a worker: this machine's GPUs and engines join the cluster."""
    launch(WorkerOptions(**with_tls(given)))


@click.command(
    cls=ManualCommand,
    short_help="Run another gateway: the OpenAI API on this machine.",
    variables=RUNNING,
    statuses=NODE_STATUSES,
    examples=[
        ("Serve programs of this machine", "sllm gateway --head head.example:8000 --secret-file secret"),
        ("Serve other machines, too", "sllm gateway --head head.example:8000 --host 0.0.0.0 --port 80"),
    ],
)
@head_address
@public_options
@node_options("127.0.0.1")
def gateway(**given: Any) -> None:
    """Run another gateway: the OpenAI API on this machine, for the models of the cluster."""
    launch(GatewayOptions(**with_public_tls(with_tls(given))))
