"""Cell sectors of 3GPP TR 38.901: every drop places its users anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from channels.base import check_number, register
from channels.draws import sionna_draws
from channels.errors import InputError
from channels.ofdm.grid import SYMBOLS
from channels.ofdm.wideband import Wideband

if TYPE_CHECKING:
    from torch import Tensor

_LANES = 16
_MEMORY = 2**31  # bytes that the rays of a drop may take
_RAYS = 6500  # bytes of Sionna's rays for each pair of antennas and OFDM symbol, as measured


@dataclass(kw_only=True, repr=False, eq=False)
class Sector(Wideband):
    """A base station and ``users`` placed at random in its sector, all of them in one drop.

    Small-scale fading alone: path loss, shadowing and penetration loss belong to a link budget, so the SNR asked for
    is what each user has on average over its fading, wherever it is. Place, line of sight, delay and angular spreads
    (correlated between users that are near to each other) are drawn with each drop. Uniform linear arrays of upright
    omnidirectional antennas at half a wavelength, at both ends: what random tilts and antenna patterns cost (3 dB and
    more, measured) is again a matter of the link budget.

    :param line_of_sight: None: at random, as the scenario says; True or False: for all users outdoors. Users indoors
        have none.
    :param indoor_fraction: probability of a user to be indoors; None: 0.8, in rural cells 0.5.
    """

    line_of_sight: bool | None = None
    indoor_fraction: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.line_of_sight is None or isinstance(self.line_of_sight, bool)):
            raise InputError(
                f"{self.name}: line_of_sight must be true, false or null, not {self.line_of_sight!r}"
            )
        if self.indoor_fraction is not None:
            check_number(self.name, "indoor_fraction", self.indoor_fraction, 0, 1)
        pairs = self.users * self.rx_antennas * self.tx_antennas
        longest = _MEMORY // (_RAYS * SYMBOLS * pairs)
        if self.drop_slots > longest:
            advice = f"at most {longest}, not {self.drop_slots}," if longest else "less than 1: too much"
            raise InputError(
                f"{self.name}: drop_slots must be {advice} for {pairs} pairs of antennas, whose rays would take "
                f"more than {_MEMORY / 2**30:.0f} GB"
            )

    def cir(self, seed: int, symbols: int) -> tuple[Tensor, Tensor]:
        """All users of one topology."""
        from sionna.phy.channel import gen_single_sector_topology

        speed = self.speed_kmh / 3.6
        los: Any = "random" if self.line_of_sight is None else self.line_of_sight
        with sionna_draws(seed, "sector"):
            model = self._model()
            places, site, turns, facing, velocities, indoors = gen_single_sector_topology(
                1,
                self.users,
                self.name,
                indoor_probability=self.indoor_fraction,
                min_ut_velocity=speed,
                max_ut_velocity=speed,
                precision="single",
                device="cpu",
            )
            turns[..., 1:], facing[..., 1:] = 0, 0  # upright: bearing alone
            model.set_topology(places, site, turns, facing, velocities, indoors, los)
            # Whole registers of time steps: at the tail of a tensor, torch rounds complex products differently.
            a, tau = model(-(-symbols // _LANES) * _LANES, 1 / self.symbol_seconds)
        a = a[..., :symbols].contiguous()
        # Clusters too weak to count have no power, but delays of seconds.
        return a, tau.masked_fill((a == 0).all(-1).all(4).all(2), 0)

    def _model(self) -> Any:
        """Sionna's model of the scenario; built for each drop, since it remembers the last."""
        from sionna.phy.channel import tr38901

        carrier = 1e9 * self.carrier_ghz
        uplink = self.direction == "uplink"
        counts = (self.tx_antennas, self.rx_antennas) if uplink else (self.rx_antennas, self.tx_antennas)
        user, site = (
            tr38901.PanelArray(
                num_rows_per_panel=1,
                num_cols_per_panel=count,
                polarization="single",
                polarization_type="V",
                antenna_pattern="omni",
                carrier_frequency=carrier,
                precision="single",
                device="cpu",
            )
            for count in counts
        )
        loss: dict[str, Any] = (
            {} if self.name == "rma" else {"o2i_model": "low"}
        )  # a loss that is not applied
        return getattr(tr38901, _SCENARIOS[self.name])(
            carrier,
            ut_array=user,
            bs_array=site,
            direction=self.direction,
            enable_pathloss=False,
            enable_shadow_fading=False,
            precision="single",
            device="cpu",
            spec_version="19.2",
            **loss,
        )


_SCENARIOS = {"umi": "UMi", "uma": "UMa", "rma": "RMa"}


@register("umi", family="ofdm")
class UMi(Sector):
    """OFDM in an urban microcell (street canyon) of TR 38.901: users at random, 80 % of them indoors.

    [TR 38.901 V19.2, clauses 7.2 and 7.5; Sionna's UMi]
    """


@register("uma", family="ofdm")
class UMa(Sector):
    """OFDM in an urban macrocell of TR 38.901: users at random, 80 % of them indoors.

    [TR 38.901 V19.2, clauses 7.2 and 7.5; Sionna's UMa]
    """


@register("rma", family="ofdm")
class RMa(Sector):
    """OFDM in a rural macrocell of TR 38.901: users at random, half of them indoors, the others in cars.

    [TR 38.901 V19.2, clauses 7.2 and 7.5; Sionna's RMa, up to 30 GHz]
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self.name, "carrier_ghz", self.carrier_ghz, 0.5, 30)
