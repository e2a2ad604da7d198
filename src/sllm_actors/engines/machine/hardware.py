"""What engines compute with: the GPUs and CPU cores that a worker shares out."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from attrs import field, frozen

from .cores import CorePool
from .cpu_dtype import cpu_dtype
from .gpus import GpuPool


@frozen
class Hardware:
    """The part of a machine that engines of one worker may use.

    Attributes:
        gpus: The GPUs.
        cores: The CPU cores.
        cpu_dtype: The data type in which engines compute on a CPU, where the deployment sets none.
        nvidia_smi: The path of ``nvidia-smi``, which tells how much GPU memory is in use; "" for none.
    """

    gpus: GpuPool
    cores: CorePool = field(factory=CorePool)
    cpu_dtype: str = field(factory=cpu_dtype)
    nvidia_smi: str = field(factory=lambda: shutil.which("nvidia-smi") or "")

    def gpu_memory(self, gpus: Sequence[str]) -> tuple[str, ...]:
        """Return the command line that prints how many MiB of each GPU are in use; () where there is none."""
        if not gpus or not self.nvidia_smi:
            return ()
        query = ("--query-gpu=memory.used", "--format=csv,noheader,nounits")
        return (self.nvidia_smi, *query, f"--id={','.join(gpus)}")
