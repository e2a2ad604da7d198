"""The options of the commands that run nodes, each with what holds where it is not given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from sllm_actors.cli.parameters import (
    GPUS,
    HEAD,
    HOST,
    KEY_VALUE,
    PORT,
    SIZE,
    FiniteRange,
    WholeRange,
    each_key_once,
)

from .common import Command, options

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
MOST_GATEWAYS = 64
MOST_SLOTS = 1024
NO_TLS = "no TLS between nodes"
PEM = click.Path(path_type=Path)


def _origins(_context: click.Context, _option: click.Parameter, given: Sequence[str]) -> tuple[str, ...]:
    from sllm_actors.gateway.cors import origin_of  # as in ``launch``

    try:
        return tuple(map(origin_of, given))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def node_options(host: str) -> Callable[[Command], Command]:
    """Return a decorator that gives a command the options of every node.

    Args:
        host: The address that it listens on unless ``--host`` says another; see ``make_plan``.
    """
    return options(
        click.option("--host", type=HOST, metavar="ADDR", show_default=host, help="Address to listen on."),
        click.option(
            "--advertise",
            type=HOST,
            metavar="ADDR",
            show_default="the one that they see",
            help="Name or address at which other machines reach this one.",
        ),
        click.option(
            "--data-dir",
            type=FOLDER,
            envvar="SLLM_DATA_DIR",
            show_envvar=True,
            show_default="~/.local/share/sllm",
            help="Where identity and state live.",
        ),
        click.option(
            "--secret-file",
            type=FILE,
            show_default="SLLM_CLUSTER_SECRET, or the file secret of the data directory",
            help="File with the cluster secret.",
        ),
        click.option(
            "--tls-cert",
            type=PEM,
            show_default=NO_TLS,
            help="This node's certificate (PEM), for TLS between nodes; with --tls-key and --tls-ca.",
        ),
        click.option(
            "--tls-key", type=PEM, show_default=NO_TLS, help="The private key of that certificate (PEM)."
        ),
        click.option(
            "--tls-ca", type=PEM, show_default=NO_TLS, help="The authority of all nodes' certificates (PEM)."
        ),
        click.option(
            "--trust-new-head",
            is_flag=True,
            help="Workers and gateways started here believe a head whose key (head.key) is new."
            " Give it once.",
        ),
    )


engine_options = options(
    click.option("--gpus", type=GPUS, default="auto", show_default=True, help="GPUs that engines may use."),
    click.option(
        "--slots",
        type=WholeRange(min=1, max=MOST_SLOTS),
        metavar="N",
        show_default="as many as there is room for",
        help="The most engines that run at a time.",
    ),
    click.option(
        "--memory-budget",
        type=SIZE,
        metavar="SIZE",
        show_default="no limit",
        help="Memory that engines may have together, as 24GiB.",
    ),
    click.option(
        "--storage-path",
        type=Path,  # it is not looked at here: its disk may not answer
        metavar="DIRECTORY",
        envvar="STORAGE_PATH",
        show_envvar=True,
        show_default="the data directory",
        help="Where models are kept, in the folder models.",
    ),
    click.option(
        "--storage-quota",
        type=SIZE,
        metavar="SIZE",
        show_default="all that it has",
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
        show_default="plain HTTP",
        help="Serve the OpenAI API by HTTPS with this certificate (PEM); with --public-tls-key."
        " A renewed one is taken in a minute.",
    ),
    click.option(
        "--public-tls-key",
        type=PEM,
        show_default="plain HTTP",
        help="The private key of that certificate (PEM).",
    ),
    click.option("--http2", is_flag=True, help="Offer HTTP/2 to clients of HTTPS."),
    click.option(
        "--cors-origin",
        "cors_origins",
        multiple=True,
        callback=_origins,
        metavar="ORIGIN",
        help="Let web pages of this origin use the OpenAI API from a browser; *: of any; repeatable.",
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


def worker_port(flag: str) -> Callable[[Command], Command]:
    """Return a decorator that gives a command the port of its worker, by this flag."""
    return click.option(
        flag,
        type=PORT,
        default=8002,
        show_default=True,
        help="Port that gateways reach the worker at; 0: any free one.",
    )


head_address = click.option(
    "--head",
    type=HEAD,
    required=True,
    metavar="HOST[:PORT]",
    help="Address of the head's cluster HTTP, whose port is 8000 unless given.",
)
