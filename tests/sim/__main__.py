"""``python -m tests.sim``: many seeds, or one of them again."""

# ruff: noqa: T201 - a program

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from .ledger import Summary
from .subjects import ACTORS, SUBJECTS, Subject
from .sweep import Sweep, keep, regressions, run_seed

SHOWN = 60
"""Lines of a failing run's trace that are printed; one seed alone prints all that are kept."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.sim", description="Simulate clusters under faults."
    )
    parser.add_argument("--seed", type=int, help="run this seed alone and print its trace")
    parser.add_argument("--seeds", type=int, default=200, metavar="N", help="run so many seeds (200)")
    parser.add_argument("--first", type=int, default=1, metavar="N", help="begin with this one (1)")
    parser.add_argument("--processes", type=int, metavar="N", help="run so many at a time (one per core)")
    parser.add_argument("--subject", default=ACTORS, choices=sorted(SUBJECTS), help="what is simulated")
    parser.add_argument("--mutation", default="", help="put this bug into what is simulated")
    options = parser.parse_args()
    subject = SUBJECTS[options.subject]
    if options.mutation not in subject.mutations:
        parser.error(f"the mutations of {options.subject} are {', '.join(sorted(subject.mutations))[2:]}")
    if options.seed is not None:
        return _one(options.seed, options)
    seeds = [*range(options.first, options.first + options.seeds)]
    if not options.mutation:  # what once failed comes first
        seeds = list(dict.fromkeys([*regressions(subject.regressions), *seeds]))
    return _many(seeds, options)


def _one(seed: int, options: argparse.Namespace) -> int:
    summary = run_seed(seed, options.mutation, keep_trace=True, subject=options.subject)
    print("\n".join(summary.tail))
    print("\n".join(f"{count:8} {what}" for what, count in sorted(summary.counts.items())))
    print(f"seed {seed}, trace {summary.hash}")
    print("\n".join(summary.violations) or "every promise was kept")
    return bool(summary.violations)


def _many(seeds: list[int], options: argparse.Namespace) -> int:
    began, cpu = time.monotonic(), 0.0
    subject, mutation = SUBJECTS[options.subject], options.mutation
    failed: list[Summary] = []
    counts: Counter[str] = Counter()
    with Sweep(options.processes, subject=options.subject) as sweep:
        for done, summary in enumerate(sweep.run(seeds, mutation), 1):
            counts += summary.counts
            cpu += summary.cpu
            if summary.violations:
                failed.append(summary)
                if not mutation:
                    keep(summary, subject.regressions)
                _print_failure(summary, subject)
            _progress(done, len(seeds), len(failed), time.monotonic() - began)
    print("\n".join(f"{count:8} {what}" for what, count in sorted(counts.items())))
    print(f"{len(seeds)} seeds in {time.monotonic() - began:.0f} s, {len(failed)} failed")
    print(f"{cpu / len(seeds):.2f} s of processor time each")
    if failed:
        kept = "" if mutation else f" (kept in {subject.regressions.name})"
        print("failed:", *sorted(summary.seed for summary in failed), kept)
    return bool(failed)


def _print_failure(summary: Summary, subject: Subject) -> None:
    print(f"\r{' ' * 60}\r--- seed {summary.seed}")
    print("\n".join(summary.tail[-SHOWN:]))
    print("\n".join(summary.violations))
    print(f"--- again: {subject.again}{summary.seed}", flush=True)


def _progress(done: int, total: int, failed: int, seconds: float) -> None:
    if sys.stderr.isatty() or done % 25 == 0 or done == total:
        end = "\r" if sys.stderr.isatty() and done < total else "\n"
        left = seconds / done * (total - done)
        sys.stderr.write(f"{done} of {total} seeds, {failed} failed, about {left:.0f} s left{end}")
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
