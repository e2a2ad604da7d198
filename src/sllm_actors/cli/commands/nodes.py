"""``sllm up``, ``head``, ``worker`` and ``gateway``: run nodes on this machine, in the foreground.

Each command passes its options to the launcher as one object of ``nodes.options``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from sllm_actors.cli.errors import CommandFailure
from sllm_actors.cli.parameters import (
    GPUS,
    HEAD,
    HOST,
    KEY_VALUE,
    PORT,
    SIZE,
    TEXT,
    FiniteRange,
    WholeRange,
    each_key_once,
)
from sllm_actors.cluster.tls_files import PublicTlsFiles, TlsFiles
from sllm_actors.nodes.options import GatewayOptions, HeadOptions, NodeOptions, UpOptions, WorkerOptions

Command = TypeVar("Command", bound=Callable[..., Any])

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
MOST_GATEWAYS = 64
MOST_SLOTS = 1024
PUBLIC_FLAGS = ("--public-tls-cert", "--public-tls-key")
TLS_FLAGS = ("--tls-cert", "--tls-key", "--tls-ca")
PEM = click.Path(path_type=Path)


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
    rest = dict(given)
    files = {flag: rest.pop(flag.lstrip("-").replace("-", "_")) for flag in TLS_FLAGS}
    missing = [flag for flag, path in files.items() if path is None]
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
    rest = dict(given)
    files = {flag: rest.pop(flag.lstrip("-").replace("-", "_")) for flag in PUBLIC_FLAGS}
    http2 = rest.pop("http2")
    missing = [flag for flag, path in files.items() if path is None]
    if len(missing) == 1:
        raise click.UsageError(
            f"--public-tls-cert and --public-tls-key go together: give {missing[0]} too, or neither"
        )
    if missing and http2:
        raise click.UsageError("--http2 needs TLS: give --public-tls-cert and --public-tls-key too")
    certificate, key = files.values()
    return {**rest, "public_tls": None if missing else PublicTlsFiles(certificate, key, http2)}


def _origins(_context: click.Context, _option: click.Parameter, given: Sequence[str]) -> tuple[str, ...]:
    from sllm_actors.gateway.cors import origin_of  # as in ``launch``

    try:
        return tuple(map(origin_of, given))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def options(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Return a decorator that gives a command these options, listed by ``--help`` in this order."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


node_options = options(
    click.option(
        "--host",
        type=HOST,
        metavar="ADDR",
        help="Address to listen on. [up, gateway: 127.0.0.1; head, worker: every address]",
    ),
    click.option(
        "--advertise",
        type=HOST,
        metavar="ADDR",
        help="Name or address at which other machines reach this one. [the one that they see]",
    ),
    click.option(
        "--data-dir",
        type=FOLDER,
        envvar="SLLM_DATA_DIR",
        help="Where identity and state live. [SLLM_DATA_DIR]",
    ),
    click.option(
        "--secret-file",
        type=FILE,
        help="File with the cluster secret. [what SLLM_CLUSTER_SECRET holds, or that of the data directory]",
    ),
    click.option("--tls-cert", type=PEM, help="This node's certificate (PEM), for TLS between nodes."),
    click.option("--tls-key", type=PEM, help="The private key of that certificate (PEM)."),
    click.option("--tls-ca", type=PEM, help="The authority of all nodes' certificates (PEM)."),
    click.option(
        "--trust-new-head",
        is_flag=True,
        help="Workers and gateways started here believe a head whose key (head.key) is new. Give it once.",
    ),
)

engine_options = options(
    click.option("--gpus", type=GPUS, default="auto", show_default=True, help="GPUs that engines may use."),
    click.option(
        "--slots",
        type=WholeRange(min=1, max=MOST_SLOTS),
        metavar="N",
        help="The most engines that run at a time. [as many as there is room for]",
    ),
    click.option(
        "--memory-budget",
        type=SIZE,
        metavar="SIZE",
        help="Memory that engines may have together, as 24GiB. [no limit]",
    ),
    click.option(
        "--storage-path",
        type=Path,  # it is not looked at here: its disk may not answer
        metavar="DIRECTORY",
        envvar="STORAGE_PATH",
        help="Where models are kept. [STORAGE_PATH, or the data directory]",
    ),
    click.option(
        "--storage-quota",
        type=SIZE,
        metavar="SIZE",
        help="What models may have of that disk, as 200GB; those not used for longest make room.",
    ),
    click.option(
        "--label",
        "labels",
        type=KEY_VALUE,
        multiple=True,
        callback=each_key_once,
        help="A property of this machine; repeatable.",
    ),
    click.option(
        "--engine-python",
        type=KEY_VALUE,
        multiple=True,
        callback=each_key_once,
        metavar="BACKEND=PATH",
        help="The Python that has an engine installed; repeatable.",
    ),
    click.option(
        "--allow-command",
        is_flag=True,
        help="Let deployments name the program to run (backend command).",
    ),
    click.option(
        "--healthy-uptime",
        type=FiniteRange(min=0.0),
        default=60.0,
        show_default=True,
        metavar="SECONDS",
        help="Being ready for so long makes an engine's earlier failures forgotten.",
    ),
    click.option(
        "--fork-servers",
        "--warm",  # its older name
        type=click.Choice(["auto", "vllm", "none"]),
        default="auto",
        show_default=True,
        help="Fork engines from a process that has imported their code, so that a start takes seconds; "
        "auto: for each engine that is installed.",
    ),
)

gateway_port = click.option(
    "--port", type=PORT, default=8343, show_default=True, help="Port of the OpenAI API; 0: any free one."
)
public_options = options(
    gateway_port,
    click.option(
        "--public-tls-cert",
        type=PEM,
        help="Serve the OpenAI API by HTTPS with this certificate (PEM). A renewed one is taken in a minute.",
    ),
    click.option("--public-tls-key", type=PEM, help="The private key of that certificate (PEM)."),
    click.option("--http2", is_flag=True, help="Offer HTTP/2 to clients of HTTPS."),
    click.option(
        "--cors-origin",
        "cors_origins",
        multiple=True,
        callback=_origins,
        metavar="ORIGIN",
        help="Let web pages of this origin use the OpenAI API from a browser; *: of any. May be repeated.",
    ),
    click.option(
        "--gateway-patience",
        type=FiniteRange(min=3.0),
        default=30.0,
        show_default=True,
        metavar="SECONDS",
        help="Replace a gateway process that hangs, or was frozen, for so long.",
    ),
)
gateway_count = click.option(
    "--gateways",
    type=WholeRange(min=1, max=MOST_GATEWAYS),
    default=1,
    show_default=True,
    help="Gateway processes, which share the port of the OpenAI API.",
)
head_ports = options(
    public_options,
    click.option(
        "--cluster-port",
        type=PORT,
        default=8000,
        show_default=True,
        help="Port of the cluster HTTP, which --head of other nodes names; 0: any free one.",
    ),
    click.option(
        "--transport-port",
        type=PORT,
        default=8001,
        show_default=True,
        help="Port that the head links with other nodes on; 0: any free one.",
    ),
)
head_address = click.option(
    "--head", type=HEAD, required=True, metavar="HOST:8000", help="The head's cluster HTTP."
)


@click.command()
@click.option("--demo", is_flag=True, help="Also deploy a small chat model, as smollm2-135m:llamacpp.")
@gateway_count
@head_ports
@click.option(
    "--worker-port",
    type=PORT,
    default=8002,
    show_default=True,
    help="Port that gateways reach the worker at; 0: any free one.",
)
@node_options
@engine_options
def up(**given: Any) -> None:
    """Run everything on this machine: head, one worker, one gateway. ^C stops all of it."""
    launch(UpOptions(**with_public_tls(with_tls(given))))


@click.command()
@click.option(
    "--gateways",
    type=WholeRange(min=0, max=MOST_GATEWAYS),
    default=1,
    show_default=True,
    help="Gateway processes beside it.",
)
@head_ports
@node_options
@click.option(
    "--database-url",
    envvar="SLLM_DATABASE_URL",
    help="Database for state. [SLLM_DATABASE_URL, or a SQLite file in the data directory]",
)
def head(**given: Any) -> None:
    """Run the head: it keeps the cluster's state and decides what runs where."""
    launch(HeadOptions(**with_public_tls(with_tls(given))))


@click.command()
@head_address
@click.option(
    "--port",
    type=PORT,
    default=8002,
    show_default=True,
    help="Port that gateways reach the worker at; 0: any free one.",
)
@click.option("--name", type=TEXT, help="What this machine is called in sllm status --nodes.")
@node_options
@engine_options
def worker(**given: Any) -> None:
    """Run a worker: this machine's GPUs and engines join the cluster."""
    launch(WorkerOptions(**with_tls(given)))


@click.command()
@head_address
@public_options
@node_options
def gateway(**given: Any) -> None:
    """Run another gateway: the OpenAI API on this machine, for the models of the cluster."""
    launch(GatewayOptions(**with_public_tls(with_tls(given))))
