"""Why a replica cannot be started on this worker as ordered. Each text is one sentence for a person.

A bad source raises ``sllm_actors.models.errors.SourceProblem`` instead, which is not a ``LaunchProblem``.
"""

from __future__ import annotations


class LaunchProblem(Exception):
    """A replica cannot be started on this worker as ordered. The text is one sentence for a person.

    The sentence calls the worker "this worker"; ``name_worker`` puts its name there.
    """


class SettingsProblem(LaunchProblem):
    """A setting is unknown to the backend, or its value is not allowed."""


def name_worker(sentence: str, worker: str) -> str:
    """Return a sentence with ``worker NAME`` in place of "this worker"; unchanged if the name is ""."""
    return sentence.replace("this worker", f"worker {worker}") if worker else sentence
