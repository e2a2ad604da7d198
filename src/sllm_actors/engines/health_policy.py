"""How engines are watched: how often each is asked, and how long an answer may take."""

from __future__ import annotations

from attrs import frozen


@frozen
class HealthPolicy:
    """How an engine is watched. Times in seconds.

    Attributes:
        first: The pause after the first question of a start; it doubles up to ``longest``.
        interval: Between questions to an engine that is ready.
        timeout: How long an answer may take.
        misses: So many questions in a row without a good answer mean that it is not healthy.
        work_interval: Between two looks at the metrics of an engine that is ready.
        hung: Seconds in which an engine that works on requests may count nothing. Long prompts, the first
            request of its kind (kernels are compiled for it) and a busy machine take their time.
        healthy_uptime: An engine that was ready for so long has made its earlier failures forgotten.
    """

    first: float = 0.02
    longest: float = 0.1
    interval: float = 2.0
    timeout: float = 5.0
    misses: int = 4
    work_interval: float = 5.0
    healthy_uptime: float = 60.0
    hung: float = 120.0
