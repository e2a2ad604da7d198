"""The public test kit: systems that check for leaks, probes, a manual clock, simulated networks and runs."""

from __future__ import annotations

from .clock import ManualClock
from .probe import TestProbe
from .sim_net import SimNet
from .sim_run import run_simulation
from .system import TestSystem, assert_no_leaks

__all__ = ["ManualClock", "SimNet", "TestProbe", "TestSystem", "assert_no_leaks", "run_simulation"]
