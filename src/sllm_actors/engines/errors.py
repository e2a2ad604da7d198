"""Why a replica cannot be started here as ordered. Each text is one sentence for a person.

A source that is no good is ``sllm_actors.models.errors.SourceProblem``, which is none of these.
"""

from __future__ import annotations


class LaunchProblem(Exception):
    """This replica cannot be started here as ordered. The text is one sentence for a person.

    It says "this worker" of the one that it speaks for: see ``name_worker``.
    """


class SettingsProblem(LaunchProblem):
    """A setting is unknown to the backend, or its value is no good."""


def name_worker(sentence: str, worker: str) -> str:
    """Return a sentence of a worker as people read it elsewhere: with its name, unless that is ""."""
    return sentence.replace("this worker", f"worker {worker}") if worker else sentence
