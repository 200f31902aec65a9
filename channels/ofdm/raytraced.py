"""Rays traced through a scene, instead of statistics of scenes: Sionna RT."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from channels.base import check_number, register
from channels.draws import generator
from channels.errors import InputError, one_of
from channels.ofdm.probe import ray_tracing_missing
from channels.ofdm.wideband import Wideband

if TYPE_CHECKING:
    from torch import Tensor

_RAYS = 100_000  # launched from the site; ten times as many found the same paths in the street canyon
_TRIES = 100  # positions that a user may need until a ray reaches it


@register("raytraced", family="ofdm", needs="LLVM")
@dataclass(kw_only=True, repr=False, eq=False)
class RayTraced(Wideband):
    """OFDM over rays traced from a site to users at random places of a 3-D scene (Sionna RT; optional extra "rt").

    Line of sight and specular reflections, as electromagnetic fields with the scene's materials; no diffraction, no
    scattering, no way through walls. A user that no ray reaches is placed again. It moves at ``speed_kmh`` in a
    random direction. Uniform linear arrays of upright isotropic antennas at half a wavelength. The power of each
    user's paths is scaled to 1, place by place: like all channels here it has the SNR asked for on average over its
    small-scale fading, whereas distance and shadowing, 40 dB between places in a street, belong to a link budget. A
    constant for the whole scene would leave a few places near the site to set the average.

    [ITU-R P.2040-3 materials; Hoydis et al., "Sionna RT", arXiv 2303.11103]

    :param scene: one of Sionna's scenes by name, or the path of a Mitsuba file (.xml).
    :param site: "x y z" of the base station [m].
    :param area: "x0 y0 x1 y1" [m], the rectangle of the users.
    :param height_m: of the users' antennas.
    :param max_depth: most reflections of a ray.
    :raises InputError: where rays cannot be traced: it names what is missing.
    """

    scene: str = "simple_street_canyon"
    site: str = "-33 11 32"
    area: str = "-80 -8 80 8"
    height_m: float = 1.5
    max_depth: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        self._numbers("site", "x y z")
        x0, y0, x1, y1 = self._numbers("area", "x0 y0 x1 y1")
        if not (x0 <= x1 and y0 <= y1):
            raise InputError(f"{self.name}: area must have x0 <= x1 and y0 <= y1, not {self.area!r}")
        check_number(self.name, "height_m", self.height_m, -1000, 10_000)
        check_number(self.name, "max_depth", self.max_depth, 0, 10, whole=True)
        _scene_file(self.scene)
        self._check_rays()

    def _numbers(self, field: str, form: str) -> list[float]:
        value = getattr(self, field)
        try:
            numbers = [float(v) for v in value.split()]
        except (AttributeError, ValueError):
            numbers = []
        if len(numbers) != len(form.split()) or not np.all(np.isfinite(numbers)):
            raise InputError(f"{self.name}: {field} must be numbers {form!r} in metres, not {value!r}")
        return numbers

    def _check_rays(self) -> None:
        missing = ray_tracing_missing()
        if missing:
            raise InputError(f"{self.name}: rays cannot be traced on this machine: {missing}")

    def cir(self, seed: int, symbols: int) -> tuple[Tensor, Tensor]:
        """Each user at its own place; positions and directions come from the seed, the rest is geometry."""
        import torch

        self._check_rays()  # a process that unpickled this channel has not asked yet
        uplink = self.direction == "uplink"
        antennas = (self.rx_antennas, self.tx_antennas) if uplink else (self.tx_antennas, self.rx_antennas)
        with _one_thread():
            users = [
                self._user(_scene(self.scene, self.site, self.carrier_ghz, *antennas), seed, user, symbols)
                for user in range(self.users)
            ]
        paths = max(len(tau) for _, tau in users)
        a = np.zeros((1, self.users, antennas[1], 1, antennas[0], paths, symbols), np.complex64)
        tau = np.zeros((1, self.users, 1, paths), np.float32)
        for user, (gains, delays) in enumerate(users):
            a[0, user, :, 0, :, : len(delays)] = gains
            tau[0, user, 0, : len(delays)] = delays
        if uplink:  # the same rays the other way round
            a, tau = a.transpose(0, 3, 4, 1, 2, 5, 6), tau.transpose(0, 2, 1, 3)
        return torch.from_numpy(np.ascontiguousarray(a)), torch.from_numpy(np.ascontiguousarray(tau))

    def _user(
        self, scene: Any, seed: int, user: int, symbols: int
    ) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
        """Path gains [user antennas, site antennas, paths, symbols] of total power 1, and delays [paths]."""
        x0, y0, x1, y1 = self._numbers("area", "x0 y0 x1 y1")
        rng = generator(seed, f"place{user}")
        angle, speed = 2 * np.pi * rng.random(), self.speed_kmh / 3.6
        receiver = scene.receivers["user"]
        receiver.velocity = [speed * float(np.cos(angle)), speed * float(np.sin(angle)), 0.0]
        for _ in range(_TRIES):
            receiver.position = [float(rng.uniform(x0, x1)), float(rng.uniform(y0, y1)), float(self.height_m)]
            gains, delays = self._trace(scene, symbols)
            power = np.sum(np.abs(gains[..., 0]) ** 2, dtype=np.float64) / (gains.shape[0] * gains.shape[1])
            if power > 0:
                return (gains / np.sqrt(power)).astype(np.complex64), delays - delays.min()
        raise InputError(
            f"{self.name}: no ray of depth {self.max_depth} from site {self.site!r} reached any of {_TRIES} places in "
            f"area {self.area!r} at height_m={self.height_m}; choose another area, site or max_depth"
        )

    def _trace(self, scene: Any, symbols: int) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
        from sionna.rt import PathSolver

        paths = PathSolver()(
            scene,
            max_depth=self.max_depth,
            samples_per_src=_RAYS,
            max_num_paths_per_src=_RAYS,
            refraction=False,
        )
        gains, delays = paths.cir(
            sampling_frequency=1 / self.symbol_seconds,
            num_time_steps=symbols,
            normalize_delays=False,
            out_type="numpy",
        )
        return gains[0, :, 0], delays.reshape(-1)


def _scene_file(scene: str) -> str:
    """The file of a scene; found without importing ``sionna.rt``, which may end the process."""
    from importlib.util import find_spec
    from pathlib import Path

    if isinstance(scene, str) and scene.endswith(".xml"):
        if not Path(scene).is_file():
            raise InputError(f"raytraced: scene {scene!r} is not a file")
        return scene
    package = find_spec("sionna")
    roots = package.submodule_search_locations if package else None
    files = {f.stem: f for root in roots or () for f in Path(root).glob("rt/scenes/*/*.xml")}
    one_of("scene of channel 'raytraced' (or path of an .xml file):", scene, files)
    return str(files[scene])


@lru_cache(8)
def _scene(scene: str, site: str, carrier_ghz: float, site_antennas: int, user_antennas: int) -> Any:
    """The scene with one transmitter, the site, and one receiver, "user", which is moved from place to place."""
    import sionna.rt as rt

    def array(antennas: int) -> Any:
        return rt.PlanarArray(num_rows=1, num_cols=antennas, pattern="iso", polarization="V")

    try:
        loaded = rt.load_scene(_scene_file(scene))
        loaded.frequency = 1e9 * carrier_ghz
    except (RuntimeError, ValueError) as error:
        raise InputError(f"raytraced: scene {scene!r} at carrier_ghz={carrier_ghz}: {error}") from error
    loaded.tx_array, loaded.rx_array = array(site_antennas), array(user_antennas)
    loaded.add(rt.Transmitter("site", [float(v) for v in site.split()]))
    loaded.add(rt.Receiver("user", [0.0, 0.0, 0.0]))
    return loaded


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let Dr.Jit use one thread: with several, the order of the paths and the last bits of a result vary."""
    import drjit

    threads = drjit.thread_count()
    drjit.set_thread_count(1)
    try:
        yield
    finally:
        drjit.set_thread_count(threads)
