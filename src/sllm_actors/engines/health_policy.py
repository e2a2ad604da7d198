"""How engines are watched: how often each is asked for its health, and how long an answer may take."""

from __future__ import annotations

from attrs import frozen


@frozen
class HealthPolicy:
    """How an engine is watched. Times in seconds.

    Attributes:
        first: The pause after the first question to an engine that starts; it doubles up to ``longest``.
        least: The least pause before a question that something gives cause for: output of the engine.
        longest: The longest pause between two questions to an engine that starts.
        interval: The pause between two questions to an engine that is ready.
        timeout: How long an answer may take.
        misses: How many questions in a row may go without a good answer before the engine is unhealthy.
        work_interval: The pause between two looks at the metrics of an engine that is ready.
        hung: How long the counters of an engine with requests may stand still before it counts as hung. Long
            prompts, the first request of its kind (kernels are compiled for it) and a busy machine take their
            time.
        healthy_uptime: How long an engine must be ready for its replica's earlier failures to be forgotten.
    """

    first: float = 0.02
    least: float = 0.005
    longest: float = 0.1
    interval: float = 2.0
    timeout: float = 5.0
    misses: int = 4
    work_interval: float = 5.0
    healthy_uptime: float = 60.0
    hung: float = 120.0
