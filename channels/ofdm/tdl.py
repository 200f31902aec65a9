"""Tapped delay lines of 3GPP TR 38.901."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from channels.base import check_number, register
from channels.errors import InputError
from channels.ofdm.grid import SYMBOLS
from channels.ofdm.wideband import Wideband

if TYPE_CHECKING:
    from torch import Tensor

_RAYS = 10_000  # bytes that Sionna takes for each pair of antennas and OFDM symbol
MODELS = ("A", "B", "C", "D", "E")


@register("tdl", family="ofdm")
@dataclass(kw_only=True, repr=False, eq=False)
class TDL(Wideband):
    """OFDM over a tapped delay line of 3GPP TR 38.901: Rayleigh taps (A, B, C), or a line of sight as well (D, E).

    [TR 38.901 V19.2, clause 7.7.2; taps fade as Jakes' spectrum says, by sums of sinusoids, Sionna's TDL]

    :param model: "A" to "E".
    :param delay_spread_ns: r.m.s. delay spread, at most the cyclic prefix. 10 very short, 30 short, 100 nominal, 300
        long, 1000 very long (table 7.7.3-1).
    :param correlation: r^|i - j| between antennas i and j at both ends; 0: antennas fade independently.
    """

    model: str = "A"
    delay_spread_ns: float = 100.0
    correlation: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_name("model", MODELS)
        check_number(self.name, "correlation", self.correlation, 0, 0.999)
        check_delay_spread(self, self.delay_spread_ns)
        check_memory(self)

    def cir(self, seed: int, symbols: int) -> tuple[Tensor, Tensor]:
        """One tapped delay line for each user."""
        return self.links(seed, lambda: self._model(1, symbols, 1 / self.symbol_seconds))

    @cached_property
    def _model(self) -> Any:
        import torch
        from sionna.phy.channel import exp_corr_mat
        from sionna.phy.channel.tr38901 import TDL as Model

        def matrix(antennas: int) -> Tensor | None:
            a = torch.tensor(self.correlation)
            return exp_corr_mat(a, antennas, "single", "cpu") if self.correlation and antennas > 1 else None

        return Model(
            self.model,
            delay_spread=1e-9 * self.delay_spread_ns,
            carrier_frequency=1e9 * self.carrier_ghz,
            min_speed=self.speed_kmh / 3.6,
            num_rx_ant=self.rx_antennas,
            num_tx_ant=self.tx_antennas,
            rx_corr_mat=matrix(self.rx_antennas),
            tx_corr_mat=matrix(self.tx_antennas),
            precision="single",
            device="cpu",
            spec_version="19.2",
        )


def check_delay_spread(channel: Wideband, delay_spread_ns: float) -> None:
    """:class:`InputError` for an r.m.s. delay spread that is no number >= 0, or exceeds the cyclic prefix."""
    check_number(channel.name, "delay_spread_ns", delay_spread_ns, 0, 1e6)
    prefix_ns = 1e9 * channel.prefix_seconds
    if delay_spread_ns > prefix_ns:
        raise InputError(
            f"{channel.name}: delay_spread_ns must be at most the cyclic prefix ({prefix_ns:.0f} ns), "
            f"not {delay_spread_ns!r}; use a longer cyclic_prefix"
        )


def check_memory(channel: Wideband) -> None:
    """:class:`InputError` where the rays of one user's drop would take more than 2 GB in Sionna."""
    pairs = channel.tx_antennas * channel.rx_antennas * channel.users
    longest = 2**31 // (_RAYS * SYMBOLS * pairs)
    if channel.drop_slots > longest:
        raise InputError(
            f"{channel.name}: drop_slots must be at most {max(longest, 1)} for {pairs} pairs of antennas, not "
            f"{channel.drop_slots!r}: the rays of a drop would take more than 2 GB"
        )
