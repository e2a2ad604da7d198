"""``python -m sglang.launch_server``: it takes a part of what is free on the GPU for weights and cache."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bench.gpu.engine import load_fake_engine
from tests.bench.played_gpu.held_memory import MIB, TOTAL, hold, holders

from sllm_actors.testing.fake_engine import PROGRAM


def main() -> None:
    """Run the engine."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model-path", type=Path, required=True)
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--port", required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--mem-fraction-static", type=float, default=0.9)
    options, _ = parser.parse_known_args()
    static = int(options.mem_fraction_static * (TOTAL - sum(holders().values())))
    weights = sum(file.stat().st_size for file in options.model_path.glob("*.safetensors")) // MIB
    needs = json.loads((options.model_path / "config.json").read_text()).get("played_needs", weights)
    if static <= needs:
        raise RuntimeError("Not enough memory. Please try to increase --mem-fraction-static.")
    hold(static)
    key = json.loads(options.config.read_text())["api-key"]
    fake_engine = load_fake_engine(PROGRAM)
    argv = [f"--port={options.port}", f"--model={options.served_model_name}", f"--api-key={key}"]
    played = fake_engine.read_options(argv)
    fake_engine.listen(fake_engine.Engine(played), played)


if __name__ == "__main__":
    main()
