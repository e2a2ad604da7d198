"""The public test kit."""

from __future__ import annotations

from .clock import ManualClock
from .probe import TestProbe
from .system import TestSystem, assert_no_leaks

__all__ = ["ManualClock", "TestProbe", "TestSystem", "assert_no_leaks"]
