"""What every system costs at both ends: measured operations, parameters, latency and memory; energy by a stated model.

* FLOPs: torch's counter (matrix products and convolutions; a multiply-add is two). Codecs run outside torch, count 0.
* parameters: of the modules that ran, each once.
* latency: wall-clock milliseconds of one image (receiver: with the questions of one task), median and 95th
  percentile, in a pass of its own, since counting slows a model down.
* memory: how far the resident memory of the process (on a GPU, torch's allocation) rises above where it stood, in MiB.
* energy: FLOPs times joules per FLOP of a named device, plus channel uses times the energy of a symbol that arrives
  with the SNR under a named radio. A device is taken at its data sheet's power and peak rate, so that compute energy
  is a lower bound: real programs reach a part of the peak.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from channels import Radio
from channels.errors import InputError, unknown
from channels.threads import single_thread
from semcom.sweep.chunk import clean
from semcom.sweep.engine import Engine
from semcom.sweep.memory import trim
from semcom.sweep.results import Results
from semcom.types import ReceivedPacket, Reception

if TYPE_CHECKING:
    import pandas as pd

FILE = "costs.json"
# A street canyon without line of sight: about 116 dB of path loss at 3.5 GHz.
RADIO = Radio(distance_m=200.0, path_loss="umi", line_of_sight=False)


@dataclass(frozen=True)
class Device:
    """A device that computes: ``watts`` at ``flops`` FLOP/s (FP32, peak)."""

    watts: float
    flops: float
    source: str

    @property
    def joules(self) -> float:
        """Of one FLOP."""
        return self.watts / self.flops


DEVICES = {
    "jetson-agx-orin": Device(
        60, 5.3e12, "NVIDIA Jetson AGX Orin Series Technical Brief: 5.3 FP32 TFLOPS (CUDA cores), 60 W (MAXN)"
    ),
    "t4": Device(70, 8.1e12, "NVIDIA T4 data sheet: 8.1 FP32 TFLOPS, 70 W"),
}


@dataclass(frozen=True)
class End:
    """The transmitter or the receiver of one system, for one image."""

    flops: float
    parameters: int
    median_ms: float
    p95_ms: float
    peak_mib: float  # NaN where the system does not tell


@dataclass(frozen=True)
class Cost:
    """One system at one budget. ``task``: whose questions the receiver answered (all of each image)."""

    system: str
    budget_uses: int
    task: str
    transmitter: End
    receiver: End


@dataclass(frozen=True)
class Costs:
    """What :func:`measure` found, and the model of energy."""

    images: int
    machine: str
    transmitter: str
    receiver: str
    radio: Radio
    systems: tuple[Cost, ...]

    def save(self, folder: Path) -> Path:
        """Write ``costs.json``; the report of the folder shows it."""
        path = folder / FILE
        try:
            path.write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror})") from error
        return path

    @classmethod
    def load(cls, folder: Path) -> Costs | None:
        """What :meth:`save` wrote; None where there is nothing."""
        path = folder / FILE
        try:
            raw = json.loads(path.read_text("utf-8"))
            systems = tuple(
                Cost(**{**one, "transmitter": End(**one["transmitter"]), "receiver": End(**one["receiver"])})
                for one in raw["systems"]
            )
            return cls(**{**raw, "radio": Radio(**raw["radio"]), "systems": systems})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path}: damaged ({error}); measure again: semcom cost") from error

    def energies(self, points: pd.DataFrame) -> pd.DataFrame:
        """Joules of one image at every point: columns compute_j, transmit_j, energy_j, airtime_s beside those given.

        :param points: with system, budget_uses, snr_db and channel_uses; rows of systems without a cost are dropped
        """
        joules = {
            (c.system, c.budget_uses): c.transmitter.flops * DEVICES[self.transmitter].joules
            + c.receiver.flops * DEVICES[self.receiver].joules
            for c in self.systems
        }
        keys = list(zip(points["system"], points["budget_uses"].astype(int), strict=True))
        compute = np.array([joules.get(key, np.nan) for key in keys], dtype=np.float64)
        sent = points["channel_uses"] * [self.radio.drawn_energy_j(1, snr) for snr in points["snr_db"]]
        found = points.assign(compute_j=compute, transmit_j=sent, energy_j=compute + sent)
        found["airtime_s"] = found["channel_uses"] / (self.radio.bandwidth_mhz * 1e6)
        return found[found["energy_j"].notna()]


def measure(
    folder: str | Path,
    images: int = 20,
    transmitter: str = "jetson-agx-orin",
    receiver: str = "t4",
    radio: Radio = RADIO,
    device: str = "cpu",
) -> Costs:
    """Measure every system and budget of a run on its first link, one image at a time, one thread.

    :param images: how many are counted, and as many others timed; one goes before them, so that models are loaded.
    :param transmitter: and ``receiver``: a name in :data:`DEVICES`, for the energy.
    """
    import torch

    for name in (transmitter, receiver):
        if name not in DEVICES:
            raise unknown("device profile", name, DEVICES)
    scenario = Results.open(folder).scenario
    found = []
    wanted = 2 * images + 1
    with single_thread():
        for system in scenario.systems:
            if system.name in ("ceiling", "blind"):
                continue
            for uses in scenario.channel_uses:
                engine = Engine(scenario, device)  # remembers nothing of the images of another system
                if len(engine.dataset) < wanted:
                    most = max(1, (len(engine.dataset) - 1) // 2)
                    raise InputError(
                        f"cost: the run has {len(engine.dataset)} images; give --images {most} or fewer"
                    )
                able = [
                    n for n, t in engine.tasks.items() if engine.systems[system.label].carries in t.accepts
                ]
                if able:
                    found.append(
                        _cost(engine, system.label, uses, able[0], min(images + 1, len(engine.dataset)))
                    )
    threads = f"{torch.__version__}, one thread" if device == "cpu" else torch.cuda.get_device_name()
    return Costs(images, f"torch {threads}", transmitter, receiver, radio, tuple(found))


def _cost(engine: Engine, label: str, uses: int, name: str, images: int) -> Cost:
    system, task = engine.systems[label], engine.tasks[name]
    budget = engine.links[engine.scenario.links[0].label].budget(uses)
    sent, received = _Meter(), _Meter()
    for number in range(images):
        sample = engine.dataset[number]
        queries = task.queries(sample)
        asked = queries[:1] if system.needs_query else None
        with sent.one(number):
            (message,) = system.transmit([sample.image], budget, asked)
        reception = clean(message) or Reception(
            tuple(ReceivedPacket(p.payload, True) for p in message.packets),
            message.symbols,
            None if message.symbols is None else np.full(len(message.symbols), 0.01, np.float32),
        )
        with received.one(number):
            (thing,) = system.receive([reception], [sample.image.shape[:2]], asked)
            task.answer([thing] * len(queries), queries)
    return Cost(label, uses, name, sent.end(), received.end())


class _Meter:
    """Measures a block for each image. The first image is thrown away; then they are counted and timed in turn."""

    def __init__(self) -> None:
        self._counted: list[tuple[float, float]] = []  # FLOPs, MiB
        self._timed: list[float] = []  # ms
        self._parameters: dict[int, int] = {}

    @contextmanager
    def one(self, number: int) -> Iterator[None]:
        """Around what is measured; ``number`` of the image, from 0."""
        if number % 2:
            start = time.perf_counter()
            yield
            self._timed.append(1000 * (time.perf_counter() - start))
            return
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        def note(module: Any, *_: Any) -> None:
            for parameter in module.parameters(recurse=False):
                self._parameters[id(parameter)] = parameter.numel()

        hook = torch.nn.modules.module.register_module_forward_hook(note)
        risen = _memory()
        try:
            with FlopCounterMode(display=False) as counter:
                yield
        finally:
            hook.remove()
        self._counted.append((float(counter.get_total_flops()), risen()))

    def end(self) -> End:
        """What was measured."""
        flops, memory = np.array(self._counted[1:]).T
        return End(
            float(flops.mean()),
            sum(self._parameters.values()),
            float(np.median(self._timed)),
            float(np.quantile(self._timed, 0.95)),
            float(memory.max()),
        )


def _memory() -> Callable[[], float]:
    """A function that tells by how many MiB memory has risen at most since now."""
    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        return lambda: (torch.cuda.max_memory_allocated() - before) / 2**20
    with suppress(OSError):
        trim()  # else what is taken may have been kept from before, and would not show
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew  [Linux, proc(5)]
        stood = _status("VmRSS")
        return lambda: max(0.0, _status("VmHWM") - stood) / 1024
    return lambda: float("nan")


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith(name)).split()[1])


def pareto(points: pd.DataFrame, more: str, less: tuple[str, ...]) -> list[bool]:
    """Which rows no other beats, that is: is at least as good in all of ``more`` (high is good) and ``less``, and
    better in one."""
    values = np.column_stack(
        [-points[more].to_numpy(float), *(points[name].to_numpy(float) for name in less)]
    )
    return [not bool(((values <= row).all(axis=1) & (values < row).any(axis=1)).any()) for row in values]
