"""The link budget: from transmit power, bandwidth and distance to an SNR, a time on air and an energy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log10, pi

from channels.base import check_number
from channels.errors import InputError, one_of

BOLTZMANN = 1.380649e-23  # J/K
LIGHT_SPEED = 299_792_458.0  # m/s


@dataclass(frozen=True)
class _Model:
    """A path loss model: heights [m] of its two antennas, and where it holds."""

    loss_db: Callable[[float, float, bool], float]  # of ground distance [m], carrier [GHz], line of sight
    heights_m: tuple[float, float]
    ghz: tuple[float, float]
    los_m: tuple[float, float]
    nlos_m: tuple[float, float]


def _slant(ground_m: float, heights_m: tuple[float, float]) -> float:
    """Distance in space from the distance on the ground, TR 38.901, figure 7.4.1-1."""
    return float((ground_m**2 + (heights_m[0] - heights_m[1]) ** 2) ** 0.5)


def _free_space(distance_m: float, ghz: float, line_of_sight: bool) -> float:
    return 20 * log10(4 * pi * distance_m * ghz * 1e9 / LIGHT_SPEED)


def _umi(ground_m: float, ghz: float, line_of_sight: bool) -> float:
    bs, ut = heights = _MODELS["umi"].heights_m
    d = _slant(ground_m, heights)
    breakpoint_m = 4 * (bs - 1) * (ut - 1) * ghz * 1e9 / LIGHT_SPEED
    if ground_m < breakpoint_m:
        los = 32.4 + 21 * log10(d) + 20 * log10(ghz)
    else:
        los = 32.4 + 40 * log10(d) + 20 * log10(ghz) - 9.5 * log10(breakpoint_m**2 + (bs - ut) ** 2)
    if line_of_sight:
        return los
    return max(los, 35.3 * log10(d) + 22.4 + 21.3 * log10(ghz) - 0.3 * (ut - 1.5))


def _uma(ground_m: float, ghz: float, line_of_sight: bool) -> float:
    bs, ut = heights = _MODELS["uma"].heights_m
    d = _slant(ground_m, heights)
    breakpoint_m = 4 * (bs - 1) * (ut - 1) * ghz * 1e9 / LIGHT_SPEED  # h_E = 1 m, as ut < 13 m
    if ground_m < breakpoint_m:
        los = 28 + 22 * log10(d) + 20 * log10(ghz)
    else:
        los = 28 + 40 * log10(d) + 20 * log10(ghz) - 9 * log10(breakpoint_m**2 + (bs - ut) ** 2)
    if line_of_sight:
        return los
    return max(los, 13.54 + 39.08 * log10(d) + 20 * log10(ghz) - 0.6 * (ut - 1.5))


def _rma(ground_m: float, ghz: float, line_of_sight: bool) -> float:
    bs, ut = heights = _MODELS["rma"].heights_m
    building, street = 5.0, 20.0  # average height and width [m], the defaults of the table
    d = _slant(ground_m, heights)
    breakpoint_m = 2 * pi * bs * ut * ghz * 1e9 / LIGHT_SPEED

    def near(metres: float) -> float:
        return (
            20 * log10(40 * pi * metres * ghz / 3)
            + min(0.03 * building**1.72, 10) * log10(metres)
            - min(0.044 * building**1.72, 14.77)
            + 0.002 * log10(building) * metres
        )

    los = near(d) if ground_m < breakpoint_m else near(breakpoint_m) + 40 * log10(d / breakpoint_m)
    if line_of_sight:
        return los
    nlos = (
        161.04
        - 7.1 * log10(street)
        + 7.5 * log10(building)
        - (24.37 - 3.7 * (building / bs) ** 2) * log10(bs)
        + (43.42 - 3.1 * log10(bs)) * (log10(d) - 3)
        + 20 * log10(ghz)
        - (3.2 * log10(11.75 * ut) ** 2 - 4.97)
    )
    return max(los, nlos)


# TR 38.901: table 7.4.1-1; heights of the sites from tables 7.2-1 to 7.2-3, 1.5 m for the terminal.
_MODELS = {
    "free-space": _Model(_free_space, (0, 0), (1e-3, 1e3), (0, 1e9), (0, 1e9)),
    "umi": _Model(_umi, (10, 1.5), (0.5, 100), (10, 5_000), (10, 5_000)),
    "uma": _Model(_uma, (25, 1.5), (0.5, 100), (10, 5_000), (10, 5_000)),
    "rma": _Model(_rma, (35, 1.5), (0.5, 30), (10, 10_000), (10, 5_000)),
}
PATH_LOSSES = tuple(_MODELS)


@dataclass(frozen=True)
class Radio:
    """Where an SNR comes from: power, bandwidth, noise and distance.

    SNR [dB] = tx_power_dbm + antenna_gain_db - path loss - shadow_margin_db - noise power, all within the bandwidth,
    where one channel use takes 1 / bandwidth.

    :param bandwidth_mhz: of the signal and of the noise.
    :param tx_power_dbm: of all transmit antennas together.
    :param noise_figure_db: of the receiver.
    :param distance_m: on the ground between the two antennas (for "free-space": between them).
    :param path_loss: "free-space" (Friis), or of TR 38.901, table 7.4.1-1: "umi" (street canyon, site 10 m high),
        "uma" (25 m) or "rma" (35 m, houses 5 m, streets 20 m), each with a terminal 1.5 m high.
    :param line_of_sight: which formula of that table; free space always has one.
    :param antenna_gain_db: of both antennas together, in the direction of the other.
    :param shadow_margin_db: attenuation on top of the mean path loss.
    :param temperature_k: of the noise.
    :param amplifier_efficiency: radiated over drawn power.
    :raises InputError: for values that make no sense, and for distances and carriers for which the path loss is not
        given.
    """

    bandwidth_mhz: float = 1.0
    tx_power_dbm: float = 23.0
    noise_figure_db: float = 7.0
    distance_m: float = 100.0
    carrier_ghz: float = 3.5
    path_loss: str = "free-space"
    line_of_sight: bool = True
    antenna_gain_db: float = 0.0
    shadow_margin_db: float = 0.0
    temperature_k: float = 290.0
    amplifier_efficiency: float = 0.3

    def __post_init__(self) -> None:
        one_of("path loss", self.path_loss, _MODELS)
        if not isinstance(self.line_of_sight, bool):
            raise InputError(f"radio: line_of_sight must be true or false, not {self.line_of_sight!r}")
        if self.path_loss == "free-space" and not self.line_of_sight:
            raise InputError("radio: free space has a line of sight; take path_loss 'umi', 'uma' or 'rma'")
        check_number("radio", "bandwidth_mhz", self.bandwidth_mhz, 1e-6, 1e6)
        check_number("radio", "tx_power_dbm", self.tx_power_dbm, -200, 200)
        check_number("radio", "noise_figure_db", self.noise_figure_db, 0, 100)
        check_number("radio", "antenna_gain_db", self.antenna_gain_db, -200, 200)
        check_number("radio", "shadow_margin_db", self.shadow_margin_db, -100, 100)
        check_number("radio", "temperature_k", self.temperature_k, 1e-3, 1e6)
        check_number("radio", "amplifier_efficiency", self.amplifier_efficiency, 1e-3, 1)
        owner = f"radio with path_loss {self.path_loss!r}"
        check_number(owner, "carrier_ghz", self.carrier_ghz, *_MODELS[self.path_loss].ghz)
        check_number(owner, "distance_m", self.distance_m, *self._range_m)

    @property
    def _range_m(self) -> tuple[float, float]:
        model = _MODELS[self.path_loss]
        if self.path_loss == "free-space":
            return LIGHT_SPEED / (self.carrier_ghz * 1e9), model.los_m[
                1
            ]  # the far field, from one wavelength
        return model.los_m if self.line_of_sight else model.nlos_m

    @property
    def noise_dbm(self) -> float:
        """Noise power in the bandwidth, k T B F."""
        watts = BOLTZMANN * self.temperature_k * self.bandwidth_mhz * 1e6
        return 10 * log10(watts * 1e3) + self.noise_figure_db

    @property
    def path_loss_db(self) -> float:
        """Mean path loss; without antenna gains and shadowing."""
        return self._loss_db(self.distance_m)

    @property
    def snr_db(self) -> float:
        """Es/N0 per receive antenna, averaged over fading: what the channels call SNR."""
        return self._snr_db(self.distance_m)

    def airtime_s(self, channel_uses: float) -> float:
        """Time on air, one channel use per 1 / bandwidth."""
        check_number("radio", "channel_uses", channel_uses, 0)
        return channel_uses / (self.bandwidth_mhz * 1e6)

    def transmit_energy_j(self, channel_uses: int) -> float:
        """Radiated energy, transmit power times time on air."""
        return 10 ** (self.tx_power_dbm / 10 - 3) * self.airtime_s(channel_uses)

    def power_for(self, snr_db: float) -> float:
        """The transmit power [dBm] that gives an SNR, all else equal."""
        return self.tx_power_dbm + snr_db - self.snr_db

    def drawn_energy_j(self, channel_uses: float, snr_db: float) -> float:
        """What the amplifier draws to send so many symbols so that they arrive with ``snr_db``."""
        power = 10 ** (self.power_for(snr_db) / 10 - 3)
        return power * self.airtime_s(channel_uses) / self.amplifier_efficiency

    def distance_for(self, snr_db: float) -> float:
        """The distance [m] at which the SNR is ``snr_db``, all else equal.

        :raises InputError: where that distance lies outside the range of the path loss model.
        """
        low, high = self._range_m
        most, least = self._snr_db(low), self._snr_db(high)
        check_number(f"radio with path_loss {self.path_loss!r}", "snr_db", snr_db, least, most)
        while high - low > 1e-12 * high:
            middle = (low * high) ** 0.5
            if not low < middle < high:
                break
            low, high = (middle, high) if self._snr_db(middle) >= snr_db else (low, middle)
        return low

    def _loss_db(self, distance_m: float) -> float:
        return _MODELS[self.path_loss].loss_db(distance_m, self.carrier_ghz, self.line_of_sight)

    def _snr_db(self, distance_m: float) -> float:
        gains = self.tx_power_dbm + self.antenna_gain_db - self.shadow_margin_db
        return gains - self._loss_db(distance_m) - self.noise_dbm
