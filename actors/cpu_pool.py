"""Processes for cpu jobs: one process and one connection for each worker.

:Runs on: any thread.
:Owns: nothing yet.
"""

from __future__ import annotations

from actors._cpu_process import CpuProcess
from actors._engine import Engine, Outcome
from actors._pickling import dumps_call

__all__ = ["CpuProcess", "Engine", "Outcome", "dumps_call"]
