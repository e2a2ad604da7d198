"""The options of ``sllm bench serve``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from sllm_actors.cli import completing
from sllm_actors.cli.parameters import NAME, FiniteRange, ParsedType, WholeRange
from sllm_actors.loadgen.work.lengths import Lengths

from .common import options

Command = TypeVar("Command", bound=Callable[..., Any])

SOURCE = click.Path(exists=True, path_type=Path)
OUTPUT = click.Path(dir_okay=False, writable=True, path_type=Path)

HIGHEST_RATE = 100_000.0
MOST_CLIENTS = 20_000
LONGEST = 30 * 86_400.0
MOST_REQUESTS = 1_000_000_000


def _goal(text: str) -> tuple[str, float]:
    from sllm_actors.loadgen.figures.goals import Goals

    return Goals.parse(text)


def _json_object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
        text.encode()
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError("write one like '{\"temperature\": 0}'")  # noqa: TRY004 - the text is wrong
    return found


def _weights(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(each) for each in text.split(","))
    except ValueError:
        found = (0.0,)
    if not all(1e-9 <= each <= 1e9 for each in found):
        raise ValueError("write them like 5,3,1")
    return found


LENGTHS = ParsedType("n|n-m", Lengths, Lengths.parse, "does not say how many tokens")
GOAL = ParsedType("kind:ms", tuple, _goal, "is no limit")
JSON_OBJECT = ParsedType("json", dict, _json_object, "is no object of JSON")
WEIGHTS = ParsedType("w,w,…", tuple, _weights, "is no list of numbers above 0")


def load_options(command: Command) -> Command:
    """Give a command the options."""
    return options(*_WHERE, *_WHEN, *_WHAT, *_HOW, *_RESULTS)(command)


_WHERE = (
    click.option(
        "--url",
        envvar="LLM_SERVER_URL",
        show_envvar=True,
        default="http://127.0.0.1:8343",
        show_default=True,
        help="The server's address; /v1 at its end does not matter.",
    ),
    click.option(
        "--model",
        "models",
        type=NAME,
        multiple=True,
        shell_complete=completing.models,
        help="Whom to ask; several: see --zipf; repeatable.",
    ),
    click.option(
        "--zipf",
        type=FiniteRange(0, 100),
        metavar="S",
        show_default="0, all alike",
        help="Of several models, ask the R-th in proportion to R to the power of -S.",
    ),
    click.option(
        "--weights",
        type=WEIGHTS,
        metavar="W,W,…",
        show_default="as --zipf says",
        help="Of several models, ask each in proportion to its number.",
    ),
    click.option(
        "--endpoint",
        type=click.Choice(["chat", "completions"]),
        default="chat",
        show_default=True,
        help="Ask /v1/chat/completions or /v1/completions.",
    ),
)
_WHEN = (
    click.option(
        "--rate",
        type=FiniteRange(0.001, HIGHEST_RATE),
        metavar="R",
        show_default="no open loop",
        help="Open loop: R requests per second, whether or not answers come.",
    ),
    click.option(
        "--arrivals",
        type=click.Choice(["poisson", "gamma", "constant"]),
        show_default="poisson; gamma with --cv",
        help="How the gaps between requests of --rate are distributed.",
    ),
    click.option(
        "--cv",
        type=FiniteRange(0.01, 100),
        metavar="X",
        show_default="1",
        help="Coefficient of variation of gamma gaps: above 1 is burstier than Poisson.",
    ),
    click.option(
        "--clients",
        type=WholeRange(1, MOST_CLIENTS),
        metavar="N",
        show_default="no closed loop",
        help="Closed loop: N clients, each of which asks again when it has its answer.",
    ),
    click.option(
        "--trace",
        type=SOURCE,
        metavar="FILE",
        show_default="none",
        help="Send what a trace of a real service says, when it says it (docs/load.md).",
    ),
    click.option(
        "--speed",
        type=FiniteRange(1e-6, 1e6),
        metavar="X",
        show_default="1",
        help="Play the trace X times as fast.",
    ),
    click.option(
        "--trace-begin",
        type=FiniteRange(0, 1e9),
        metavar="SECONDS",
        show_default="0",
        help="Leave out so many seconds of the trace at its beginning.",
    ),
    click.option(
        "--duration",
        type=FiniteRange(0.1, LONGEST),
        metavar="SECONDS",
        show_default="30, if no --requests or --trace",
        help="For how long requests are sent; all answers are waited for.",
    ),
    click.option(
        "--requests",
        type=WholeRange(1, MOST_REQUESTS),
        metavar="N",
        show_default="as many as there are within --duration",
        help="How many requests are sent.",
    ),
    click.option(
        "--warm-up",
        type=FiniteRange(0, LONGEST),
        default=0.0,
        show_default=True,
        metavar="SECONDS",
        help="Requests of the first SECONDS are sent, and not counted.",
    ),
)
_WHAT = (
    click.option(
        "--input-tokens",
        type=LENGTHS,
        default="128",
        show_default=True,
        metavar="N|N-M",
        help="Tokens of prompts: about N, or anything from N to M.",
    ),
    click.option(
        "--output-tokens",
        type=LENGTHS,
        metavar="N|N-M",
        show_default="what the trace says, else 64",
        help="Most tokens of answers (max_tokens).",
    ),
    click.option(
        "--prefix-tokens",
        type=WholeRange(0, 1_000_000),
        default=0,
        show_default=True,
        metavar="N",
        help="Put a system message of N tokens in front, which many requests share.",
    ),
    click.option(
        "--prefixes",
        type=WholeRange(1, 10_000),
        default=1,
        show_default=True,
        metavar="N",
        help="How many such messages there are; each request has one of them.",
    ),
    click.option(
        "--turns",
        type=LENGTHS,
        default="1",
        show_default=True,
        metavar="N|N-M",
        help="Turns of each chat; --rate and --requests count chats.",
    ),
    click.option(
        "--think",
        type=FiniteRange(0, 86_400),
        default=0.0,
        show_default=True,
        metavar="SECONDS",
        help="Time between an answer and the next turn.",
    ),
    click.option(
        "--prompts",
        type=SOURCE,
        metavar="FILE",
        show_default="synthetic ones",
        help="Ask what people said in a file of ShareGPT's format.",
    ),
    click.option(
        "--ignore-eos", is_flag=True, help="Have answers go on to their most tokens (vLLM, llama.cpp)."
    ),
    click.option(
        "--extra-body",
        type=JSON_OBJECT,
        default="{}",
        show_default=True,
        metavar="JSON",
        help="Further members of each request's body.",
    ),
    click.option(
        "--seed",
        type=WholeRange(0, 2**63),
        default=0,
        show_default=True,
        metavar="N",
        help="The same seed sends the same requests.",
    ),
)
_HOW = (
    click.option(
        "--stream/--no-stream", "streamed", default=True, show_default=True, help="Stream the answers."
    ),
    click.option(
        "--hang-up",
        type=FiniteRange(0, 1),
        default=0.0,
        show_default=True,
        metavar="SHARE",
        help="The share of clients that leave before they have their answer.",
    ),
    click.option(
        "--hang-up-after",
        type=FiniteRange(0, 86_400),
        default=0.5,
        show_default=True,
        metavar="SECONDS",
        help="When they leave.",
    ),
    click.option(
        "--timeout",
        type=FiniteRange(0.1, 86_400),
        default=600.0,
        show_default=True,
        metavar="SECONDS",
        help="How long an answer may take, counted from when its request was due.",
    ),
    click.option(
        "--max-connections",
        type=WholeRange(1, MOST_CLIENTS),
        default=MOST_CLIENTS,
        show_default=True,
        metavar="N",
        help="Requests under way at most; others wait, and that counts.",
    ),
)
_RESULTS = (
    click.option(
        "--goodput",
        type=GOAL,
        multiple=True,
        metavar="KIND:MS",
        help="Count answers within MS milliseconds; KIND is ttft, tpot or e2el; repeatable.",
    ),
    click.option(
        "--json",
        "json_file",
        type=OUTPUT,
        metavar="FILE",
        show_default="none",
        help="Write all figures to FILE.",
    ),
    click.option(
        "--html",
        "html_file",
        type=OUTPUT,
        metavar="FILE",
        show_default="none",
        help="Write a page with tables and plots to FILE.",
    ),
    click.option(
        "--csv",
        "csv_file",
        type=OUTPUT,
        metavar="FILE",
        show_default="none",
        help="Write a line for each request to FILE.",
    ),
)
