"""The machines, the models, and what a start and a request cost."""

from __future__ import annotations

from enum import IntEnum

from attrs import frozen

GB = 10**9


class Tier(IntEnum):
    """Where the weights of a model are, the nearest first."""

    AWAKE = 0  # on the GPU, ready
    MEMORY = 1  # in the page cache of the worker
    DISK = 2
    HUB = 3


@frozen
class Model:
    """A model that is deployed: its name, and the bytes of its weights."""

    name: str
    weights: int


@frozen
class Profile:
    """Machines that are all alike. Bandwidths in bytes per second, times in seconds.

    Attributes:
        gpus_per_worker: GPUs of one worker; the last one of a cluster may have fewer.
        gpu_memory: Of one GPU. A replica takes a GPU to itself.
        host_memory: Bytes of weights that the page cache of a worker holds; the least recently used go.
        from_memory: How fast weights come from the page cache.
        from_disk: How fast they come from the disk; a worker reads for one start after the other.
        from_hub: How fast they come from the hub, onto the disk of a worker that has them not.
        pulled: Whether every worker has all models on its disk from the beginning.
        init: What a start takes besides its weights.
        stop: From the end of the last request of a replica that stops until its GPU is free.
        target: Requests that a replica serves at a time, and wants for being full.
        max_replicas: The most replicas of one model.
        prefill: Tokens of the prompt per second.
        decode: Tokens of the answer per second, of each request.
    """

    gpus_per_worker: int = 8
    gpu_memory: int = 80 * GB
    host_memory: int = 256 * GB
    from_memory: float = 12.0 * GB
    from_disk: float = 3.0 * GB
    from_hub: float = 0.5 * GB
    pulled: bool = True
    init: float = 5.0
    stop: float = 1.0
    target: int = 4
    max_replicas: int = 10
    prefill: float = 6000.0
    decode: float = 40.0

    def bandwidth(self, tier: Tier) -> float:
        """Return how fast weights come from a tier."""
        return {Tier.MEMORY: self.from_memory, Tier.DISK: self.from_disk, Tier.HUB: self.from_hub}[tier]

    def start(self, model: Model, tier: Tier) -> float:
        """Return how long a start takes when nothing else is loaded beside it."""
        return 0.0 if tier is Tier.AWAKE else self.init + model.weights / self.bandwidth(tier)

    def service(self, prompt: int, answer: int) -> float:
        """Return how long a replica is busy with a request."""
        return prompt / self.prefill + answer / self.decode

    def workers(self, room: int) -> list[int]:
        """Return how many GPUs each worker has of a cluster with so many GPUs."""
        full, rest = divmod(room, self.gpus_per_worker)
        return [self.gpus_per_worker] * full + [rest] * (rest > 0)
