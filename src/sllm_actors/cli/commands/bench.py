"""``sllm bench``: measure a server under load."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from sllm_actors import __version__
from sllm_actors.cli.display import load_summary
from sllm_actors.cli.errors import EXIT_INTERRUPTED, CommandFailure
from sllm_actors.cli.load.offered import LoadChoice
from sllm_actors.cli.manual import ManualCommand, ManualGroup
from sllm_actors.cli.options.load import load_options
from sllm_actors.cli.terminal import complain, say, show
from sllm_actors.observe.redaction import without_credentials

STATUSES = {
    0: "The load was sent, and not every request failed.",
    1: "It could not be sent, or every request failed: a sentence on standard error says why.",
    2: "The command line is wrong.",
    130: "^C ended it; the results so far were shown and written.",
}


@click.group(
    cls=ManualGroup,
    variables=("LLM_SERVER_URL", "SLLM_API_KEY"),
    short_help="Measure a server under load.",
)
def bench() -> None:
    """Measure a server under load: any that speaks OpenAI's API."""


@bench.command(
    cls=ManualCommand,
    statuses=STATUSES,
    short_help="Send requests to a server, and measure its answers.",
    examples=[
        (
            "Ten requests per second for a minute, at random times",
            "sllm bench serve --model qwen --rate 10 --duration 60",
        ),
        (
            "In bursts; how many answers begin within half a second",
            "sllm bench serve --model qwen --rate 10 --cv 8 --goodput ttft:500",
        ),
        (
            "Another server, and 32 clients that ask without a break",
            "sllm bench serve --url http://127.0.0.1:8000 --model qwen --clients 32",
        ),
        (
            "A trace of a real service, ten times as fast",
            "sllm bench serve --model qwen --trace azure.csv --speed 10",
        ),
        (
            "Three models, the first of them asked most; all figures to a file",
            "sllm bench serve --model a --model b --model c --zipf 1 --rate 5 \\\n  --json out.json",
        ),
    ],
)
@load_options
def serve(
    *,
    url: str,
    endpoint: Any,
    warm_up: float,
    ignore_eos: bool,
    extra_body: dict[str, Any],
    streamed: bool,
    hang_up_after: float,
    think: float,
    timeout: float,
    max_connections: int,
    goodput: tuple[tuple[str, float], ...],
    json_file: Path | None,
    html_file: Path | None,
    csv_file: Path | None,
    **given: Any,
) -> int:
    """Send requests to a server that speaks OpenAI's API, and measure its answers.

    Latencies count from when a request was due, not from when it could be sent: a server that lets nobody in,
    or a generator that is late, hides nothing. ^C ends the load and shows what there is so far.
    """
    # These are slow to import, and no other command needs them.
    from sllm_actors.cli.load.progress import showing
    from sllm_actors.cli.load.result_files import ResultFiles
    from sllm_actors.cli.load.where import target_of
    from sllm_actors.loadgen import report
    from sllm_actors.loadgen.client.encoding import Encoding
    from sllm_actors.loadgen.figures.figures import Figures
    from sllm_actors.loadgen.figures.goals import Goals
    from sllm_actors.loadgen.generator import Generator, LoadPlan
    from sllm_actors.loadgen.page import page
    from sllm_actors.loadgen.preflight import check_models
    from sllm_actors.loadgen.problem import LoadProblem
    from sllm_actors.loadgen.run import run_load

    choice = LoadChoice(**given)
    choice.check()
    address, target = target_of(url)
    extra = {"ignore_eos": True, **extra_body} if ignore_eos else extra_body
    plan = LoadPlan(choice.clients, choice.seconds, max_connections, timeout, hang_up_after, think)
    encoding = Encoding(target.authority, target.base, target.key, endpoint, streamed, extra)
    figures = Figures(Goals(dict(goodput)) if goodput else None, choice.models, warm_up)
    files = ResultFiles({"json": json_file, "html": html_file}, csv_file)
    try:
        try:
            requests = choice.offered(lambda text: complain(f"warning: {text}"))
            check_models(address, target.key, choice.models)
            began = time.time()
            with showing(figures, seconds=choice.seconds, requests=choice.requests) as show_progress:

                def look(generator: Generator) -> None:
                    files.flush()
                    show_progress(generator)

                ended = run_load(target, plan, encoding, requests, figures, on_result=files.note, look=look)
        except LoadProblem as problem:
            raise CommandFailure(str(problem)) from None
        result = report.document(
            figures,
            ended.load,
            interrupted=ended.interrupted,
            conditions={
                "url": without_credentials(address),
                "began": began,
                "took": ended.seconds,
                "sllm": __version__,
                "endpoint": endpoint,
                "streamed": streamed,
                "warm_up": warm_up,
                "extra_body": extra,
                "timeout": timeout,
                "think": think,
                "hang_up_after": hang_up_after,
                **choice.described(),
            },
        )
        files.flush()
        files.write_json(result)
        files.write("html", page(result, [*load_summary.headline(result)]))
    finally:
        files.close()
    _tell(result)
    if ended.interrupted:
        return EXIT_INTERRUPTED
    if not figures.sent:
        raise CommandFailure("no request was due in that time: give a longer --duration, or a higher --rate")
    if not figures.answered and not figures.hung_up:
        raise CommandFailure("no request was answered: see the errors above")
    return 0


def _tell(result: dict[str, Any]) -> None:
    for sentence in load_summary.headline(result):
        say(sentence)
    for shown in (load_summary.latencies(result), load_summary.models(result), load_summary.errors(result)):
        if shown is not None and shown.rows:
            say()
            show(shown)
    for warning in result["generator"]["warnings"]:
        complain(f"warning: {warning}")
