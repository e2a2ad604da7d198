"""Writes a GGUF file's weights as safetensors, with tokenizer and chat template: a program for vLLM's Python.

Run by path with one JSON object ``{"file", "folder"}`` as its argument; it imports nothing of sllm_actors,
which that Python does not have. The last JSON line that it says is ``copied`` or ``failed``. It ends at once
when its standard input does: the worker is gone, or does not want it any more.
"""

from __future__ import annotations

import fcntl
import importlib
import importlib.util
import json
import os
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

NEEDED = ("torch", "transformers", "gguf", "accelerate")


def main() -> None:
    """Do the job that the argument describes."""
    job = json.loads(sys.argv[1])
    os.umask(0o077)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        problem = _copy(Path(job["file"]), Path(job["folder"]))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        problem = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    said = {"event": "failed", "detail": problem} if problem else {"event": "copied"}
    sys.stdout.write(f"\n{json.dumps(said)}\n")  # on a line of its own, whatever the libraries have said
    sys.stdout.flush()
    os._exit(0)


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def _copy(file: Path, folder: Path) -> str:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return f"it has no {' and no '.join(missing)}: run `sllm engines install vllm` on this worker"
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            return ""
        fresh = folder.with_name(f".{folder.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            _convert(file, fresh)
            for path in fresh.iterdir():
                descriptor = os.open(path, os.O_RDONLY)
                os.fsync(descriptor)
                os.close(descriptor)
            fresh.rename(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return ""


def _convert(file: Path, folder: Path) -> None:
    # By name: a type checker of our own package has neither.
    torch: Any = importlib.import_module("torch")
    transformers: Any = importlib.import_module("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        dtype=torch.bfloat16,
        quantization_config=transformers.GgufConfig(dequantize=True),  # else it cannot be saved
    )
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this file, whose modules are none of the libraries'
    main()
