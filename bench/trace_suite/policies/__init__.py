"""How others decide, each from the source that its module names, and an oracle.

They are played at their best: no request is refused and no time limit ends a wait, what a replica has is
let end before it stops, faults that their users report are left out, and all run the same engines on the
same machines.
"""

from __future__ import annotations

from bench.trace_suite.simulation import MakePolicy

from .llama_swap import Collating
from .llama_swap_groups import SwapGroups
from .ollama import Ollama
from .oracle import Oracle
from .ray_serve import RayServe
from .serverless_llm_0_8 import ServerlessLLM08
from .serverless_llm_v1 import ServerlessLLMv1

OTHERS: dict[str, MakePolicy] = {
    "serverlessllm-v1-beta": ServerlessLLMv1,
    "serverlessllm-0.8": ServerlessLLM08,
    "ray-serve": RayServe,
    "llama-swap-fcfs": SwapGroups,
    "llama-swap-collating": Collating,
    "ollama": Ollama,
}
"""Every policy of somebody else."""

REFERENCE = ("serverlessllm-v1-beta", "serverlessllm-0.8")
"""Those of the system that ours is measured by."""

ORACLE: dict[str, MakePolicy] = {"oracle": Oracle}
