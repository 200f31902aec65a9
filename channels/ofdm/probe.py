"""Whether ray tracing runs on this machine, found out where a crash does no harm."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import lru_cache

_TRIAL = """
import os
import drjit
print(*drjit.detail.llvm_version(), sep=".", flush=True)
import sionna.rt as rt
scene = rt.load_scene(rt.scene.floor_wall)
scene.tx_array = scene.rx_array = rt.PlanarArray(num_rows=1, num_cols=1, pattern="iso", polarization="V")
scene.add(rt.Transmitter("t", [1, 0, 2]))
scene.add(rt.Receiver("r", [2, 1, 1]))
rt.PathSolver()(scene, max_depth=2, samples_per_src=1000).cir(out_type="numpy")
print("traced", flush=True)
os._exit(0)
"""
_SECONDS = 120


@lru_cache(1)
def ray_tracing_missing() -> str | None:
    """Why ``sionna.rt`` cannot trace rays here, and what would help; None where it can.

    Dr.Jit compiles its kernels with an LLVM library of the system. Where that is too old for the processor, the whole
    process is aborted, so a short trial runs in a process of its own: once in each process that asks.
    """
    try:
        trial = subprocess.run(
            [sys.executable, "-c", _TRIAL], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"a trial did not end within {_SECONDS} s"
    said = trial.stdout.split()
    if said[-1:] == ["traced"]:
        return None
    found = f"LLVM {said[0]}" if said and said[0][0].isdigit() else "no usable LLVM library"
    where = os.environ.get("DRJIT_LIBLLVM_PATH")
    return (
        f"found {found} ({f'DRJIT_LIBLLVM_PATH={where}' if where else 'DRJIT_LIBLLVM_PATH is not set'}); a trial ended "
        f"with {_cause(trial)!r}. Install a newer LLVM (package libllvm19 of Debian or conda-forge) and set "
        "DRJIT_LIBLLVM_PATH to the full path of its libLLVM"
    )


def _cause(trial: subprocess.CompletedProcess[str]) -> str:
    """The start of the line of the trial's errors that says most, or its exit code."""
    lines = [line.strip() for line in trial.stderr.splitlines() if line.strip()]
    telling = [line for line in lines if "LLVM ERROR" in line or "Error: " in line]
    return [f"exit code {trial.returncode}", *lines[-1:], *telling[-1:]][-1][:80]
