"""A CPU computes in bfloat16 only where it has instructions for that."""

from __future__ import annotations

from pathlib import Path

import pytest

from sllm_actors.engines.machine.cpu_dtype import cpu_dtype


@pytest.mark.parametrize(
    ("line", "dtype"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 amx_tile", "bfloat16"),
        ("flags\t\t: fpu amx_bf16", "bfloat16"),
        ("Features\t: fp asimd bf16 i8mm", "bfloat16"),
        ("flags\t\t: fpu avx2 avx512f", "float32"),
        ("model name\t: a bf16 machine\nflags\t\t: fpu", "float32"),
        ("", "float32"),
    ],
)
def test_the_type_is_the_one_that_the_processor_has_instructions_for(
    line: str, dtype: str, tmp_path: Path
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\n{line}\n\nprocessor\t: 1\n{line}\n")
    assert cpu_dtype(cpuinfo) == dtype


def test_a_machine_that_says_nothing_computes_in_float32(tmp_path: Path) -> None:
    assert cpu_dtype(tmp_path / "nothing") == "float32"
