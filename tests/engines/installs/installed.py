"""Interpreters that seem to have an engine installed: it can be found, but not imported."""

from __future__ import annotations

import venv
from pathlib import Path


def make_python(folder: Path) -> str:
    """Make an environment with nothing in it; return its interpreter."""
    venv.create(folder, with_pip=False, symlinks=True)
    return str(folder / "bin" / "python")


def install(python: str, name: str, version: str) -> Path:
    """Put a vLLM of that name and version into an environment; return where its metadata is."""
    module = site_packages(python) / "vllm" / "__init__.py"
    module.parent.mkdir(exist_ok=True)
    module.write_text("raise SystemExit('imported')")
    info = site_packages(python) / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return info


def site_packages(python: str) -> Path:
    """Return where an environment keeps its packages."""
    return next(Path(python).parent.parent.glob("lib/python*/site-packages"))
