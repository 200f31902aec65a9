"""Clustered delay lines of 3GPP TR 38.901: angles, and antenna arrays that see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from channels.base import register
from channels.ofdm.tdl import MODELS, check_delay_spread, check_memory
from channels.ofdm.wideband import Wideband

if TYPE_CHECKING:
    from torch import Tensor

_LANES = 16


@register("cdl", family="ofdm")
@dataclass(kw_only=True, repr=False, eq=False)
class CDL(Wideband):
    """OFDM over a clustered delay line of 3GPP TR 38.901: antenna arrays see clusters of rays from all sides.

    Uniform linear arrays of upright omnidirectional antennas at half a wavelength, at both ends. The base station is
    the receiver in the uplink and the transmitter in the downlink, with one user as well. Several users see the
    same clusters, each turned to its own bearing, uniform within 120 degrees at the base station (the translation of
    angles of clause 7.7.5.1); they move in directions of their own.
    [TR 38.901 V19.2, clause 7.7.1; Sionna's CDL]

    :param model: "A", "B", "C" without line of sight, "D", "E" with one.
    :param delay_spread_ns: r.m.s. delay spread, at most the cyclic prefix.
    """

    model: str = "A"
    delay_spread_ns: float = 100.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_name("model", MODELS)
        check_delay_spread(self, self.delay_spread_ns)
        check_memory(self)

    def cir(self, seed: int, symbols: int) -> tuple[Tensor, Tensor]:
        """One clustered delay line for each user."""
        # Whole registers of time steps: at the tail of a tensor, torch rounds complex products differently.
        steps = -(-symbols // _LANES) * _LANES
        a, tau = self.links(seed, lambda: self._model()(1, steps, 1 / self.symbol_seconds))
        return a[..., :symbols].contiguous(), tau

    def _model(self) -> Any:
        """Sionna's model; built for each draw, because the bearing belongs to the model."""
        import numpy as np
        from sionna.phy import config
        from sionna.phy.channel.tr38901 import CDL as Model
        from sionna.phy.channel.tr38901 import PanelArray

        uplink = self.direction == "uplink"
        counts = (self.tx_antennas, self.rx_antennas) if uplink else (self.rx_antennas, self.tx_antennas)
        user, site = (
            PanelArray(
                num_rows_per_panel=1,
                num_cols_per_panel=count,
                polarization="single",
                polarization_type="V",
                antenna_pattern="omni",
                carrier_frequency=1e9 * self.carrier_ghz,
                precision="single",
                device="cpu",
            )
            for count in counts
        )
        bearing = config.np_rng.uniform(-np.pi / 3, np.pi / 3) if self.users > 1 else 0.0
        return Model(
            self.model,
            delay_spread=1e-9 * self.delay_spread_ns,
            carrier_frequency=1e9 * self.carrier_ghz,
            ut_array=user,
            bs_array=site,
            direction=self.direction,
            bs_orientation=[bearing, 0.0, 0.0],
            min_speed=self.speed_kmh / 3.6,
            max_speed=self.speed_kmh / 3.6,
            precision="single",
            device="cpu",
            spec_version="19.2",
        )
