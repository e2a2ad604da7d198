"""Why an engine failed, read from what it logged: real logs of vLLM 0.32, and what other programs write."""

from __future__ import annotations

import subprocess
import sys
from itertools import zip_longest
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.engines.replica.root_cause import GAP, root_cause, telling_lines

LOGS = Path(__file__).with_name("logs")
OUTER = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {"
SAFETENSORS = "SafetensorError: Error while deserializing header: incomplete metadata, file not fully covered"


def read(name: str) -> list[str]:
    return (LOGS / f"{name}.log").read_text().splitlines()


def sentence(*log: str) -> str:
    cause = root_cause(log)
    return "" if cause is None else cause.sentence


def raised(error: str, prefix: str = "", first: str | None = None) -> list[str]:
    """Return a traceback as a log has it."""
    body = ['  File "/opt/x.py", line 1, in f', "    g(1)", "    ~^^^", *error.split("\n")]
    heading = f"{prefix if first is None else first}Traceback (most recent call last):"
    return [heading, *(prefix + line for line in body)]


WORKER = "(Worker pid=3) ERROR 11-27 15:17:16 [multiproc_executor.py:953] "
CORE = "(EngineCore pid=2) ERROR 11-27 15:17:20 [core.py:1510] "
POINTER = "Exception: WorkerProc initialization failed due to an exception in a background process."
READY = "(APIServer pid=1) INFO:     Application startup complete."


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ("vllm_weights", SAFETENSORS),
        (
            "vllm_kv_cache",
            (
                "ValueError: Available memory on node 0 (17.95/20.84 GiB) on kv cache allocation is less than"
                " requested memory for kv (9000.0 GiB). Decrease --kv-cache-memory-bytes,"
                " VLLM_CPU_KVCACHE_SPACE, or reduce CPU memory used by other processes."
            ),
        ),
    ],
)
def test_of_nested_tracebacks_the_first_is_shown_before_the_end(log: str, cause: str) -> None:
    lines = read(log)
    found = root_cause(lines)
    assert found is not None
    assert found.sentence == cause
    shown = telling_lines(lines, 20, found)
    assert len(shown) == 20
    assert shown[2].startswith("(Worker pid=")
    assert shown[2].endswith(cause.partition(": ")[2])
    assert shown[3] == GAP
    assert shown[4:] == tuple(lines[-16:])
    assert any(line.startswith(OUTER) for line in shown)


def test_a_setting_that_vllm_refuses_is_named_and_its_end_is_shown_once() -> None:
    lines = read("vllm_setting")
    cause = root_cause(lines)
    assert cause is not None
    assert cause.sentence.startswith(
        "ValidationError: 1 validation error for ModelConfig Value error, User-specified max_model_len (9999"
    )
    assert len(cause.sentence) == 300
    assert telling_lines(lines, 20, cause) == tuple(line[:1000] for line in lines[-20:])


def test_lines_of_other_processes_between_those_of_a_traceback_do_not_hide_it() -> None:
    other = [f"(Worker pid=4) INFO 11-27 15:17:16 [x.py:1] line {number}" for number in range(40)]
    mixed = [line for pair in zip_longest(raised("ValueError: bad", WORKER), other) for line in pair if line]
    assert sentence(*mixed, *raised(POINTER, CORE), *raised(POINTER)) == "ValueError: bad"


def test_the_first_of_several_workers_counts_and_not_those_that_lost_it() -> None:
    first, second = (
        raised("torch.OutOfMemoryError: CUDA out of memory", WORKER),
        raised("OSError: closed", CORE),
    )
    assert sentence(*first, *second, *raised(POINTER)) == "OutOfMemoryError: CUDA out of memory"


def test_of_exceptions_that_were_raised_for_each_other_the_last_is_meant() -> None:
    for link in (
        "During handling of the above exception, another",
        "The above exception was the direct cause of",
    ):
        chain = [
            *raised("KeyError: 'x'"),
            "",
            f"{link} exception:",
            "",
            *raised("OSError: no tokenizer in /m"),
        ]
        assert sentence(*chain, *raised(POINTER)) == "OSError: no tokenizer in /m"
        prefixed = [WORKER + line for line in chain]
        assert sentence(*prefixed, *raised(POINTER)) == "OSError: no tokenizer in /m"


def test_a_heading_may_stand_behind_other_words() -> None:
    scheduler = "[2026-11-27 15:17:16 TP0] Scheduler hit an exception: "
    lost = "[2026-11-27 15:17:17] Rank 0 scheduler is dead."
    assert (
        sentence(*raised("RuntimeError: x", first=scheduler), lost, *raised("EOFError")) == "RuntimeError: x"
    )


def test_what_an_engine_got_over_is_not_why_it_failed_later() -> None:
    assert sentence(*raised("ImportError: no flash"), READY, "the end") == ""
    late = raised("RuntimeError: CUDA error", CORE)
    dead = raised("vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.")
    assert sentence(*raised("ImportError: no flash"), READY, *late, *dead) == "RuntimeError: CUDA error"
    answered = '(APIServer pid=1) INFO:     127.0.0.1 - "POST /v1/chat/completions HTTP/1.1" 200 OK'
    assert sentence(*late, answered, *dead) == "RuntimeError: CUDA error"
    assert sentence(*dead) == "EngineDeadError: EngineCore encountered an issue."


@pytest.mark.parametrize(
    "log",
    [
        [],
        ["error: unrecognized arguments: --no-such"],
        ["Traceback (most recent call last):"],
        ["Traceback (most recent call last):", '  File "x", line 1, in f', "    g()"],
        ["Traceback (most recent call last):", "ValueError: without a place"],
        [WORKER + "Traceback (most recent call last):", "something else"],
    ],
)
def test_a_log_without_a_whole_traceback_names_no_cause(log: list[str]) -> None:
    assert root_cause(log) is None
    assert telling_lines(log, 20, None) == tuple(log)


def test_the_text_of_an_exception_is_bounded_and_ends_where_others_speak() -> None:
    many = root_cause(raised("ValueError: " + "\n".join(f"line {number}" for number in range(9))))
    assert many is not None
    assert many.sentence == "ValueError: line 0 line 1 line 2 line 3"
    assert sentence(*raised("ValueError: x"), "Process EngineCore:") == "ValueError: x"
    assert sentence(*raised("ValueError: x"), "(APIServer pid=1) INFO on") == "ValueError: x"
    assert sentence(*raised("ValueError: x"), *raised("ValueError: y")) == "ValueError: x"
    assert sentence(*raised("ValueError: x", WORKER), "on") == "ValueError: x"
    assert sentence(*raised("KeyError")) == "KeyError"
    long = root_cause(raised("ValueError: " + "x" * 5000) + ["end"] * 30)
    assert long is not None
    assert [len(line) for line in telling_lines(["-"] * 9, 20, long)] == [1] * 9
    assert max(len(line) for line in telling_lines(raised("E: " + "x" * 5000), 20, None)) == 1000


def test_what_python_prints_is_understood() -> None:
    """With the marks, repeated frames and notes of this version of Python."""
    program = (
        "import sys\n"
        "def deep(n):\n"
        "    return deep(n - 1) if n else {}['missing']\n"
        "try:\n"
        "    deep(30)\n"
        "except KeyError as error:\n"
        "    raise ValueError('the model has no such key') from error\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert sentence(*ended.stderr.splitlines()) == "ValueError: the model has no such key"


PIECES = [*read("vllm_weights"), "", "Traceback (most recent call last):", WORKER, "x" * 2000, READY]


@given(st.lists(st.sampled_from(PIECES), max_size=60), st.integers(10, 30))
def test_any_log_gives_as_many_lines_as_are_wanted(log: list[str], count: int) -> None:
    shown = telling_lines(log, count, root_cause(log))
    assert len(shown) == min(count, len(log))
    assert all(len(line) <= 1000 for line in shown)
