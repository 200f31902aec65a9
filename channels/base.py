"""What every channel keeps: unit-gain parallel channels with known noise, drawn from one seed per row."""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from channels.draws import Seed, row_seeds
from channels.errors import InputError
from channels.modem import modem
from channels.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

SNR = float | Sequence[float] | NDArray[np.float64]
Power = Literal["check", "normalise", "trust"]

CHANNELS: Registry[Channel] = Registry("channel")
_MEMORY = 2**27  # bytes that the rows sent together may take


class Channel(ABC):
    """Base of all channels; a subclass writes :meth:`realise` and :meth:`apply`.

    .. math:: y = x + \\mathrm{noise}, \\qquad E|\\mathrm{noise}_i|^2 = \\mathrm{no}_i

    A realisation is a value: it can be kept and applied again, to another ``x`` or at another SNR.
    A subclass may also write :meth:`uses`, where pilots or prefixes cost something; :meth:`capacity`, where the
    noise that :meth:`apply` leaves does not say all that a perfect receiver could know; :meth:`soft`, where its
    detector works on the constellation; and :meth:`footprint`, where a row takes much memory.
    """

    name: ClassVar[str] = ""
    differentiable: ClassVar[bool] = True  # gradients of y with respect to x
    modulations: ClassVar[tuple[str, ...] | None] = None  # that it carries; None: all, and analog symbols too

    @property
    def equalises(self) -> bool:
        """Whether soft bits are those of the equalised symbols: no detector that works on the constellation."""
        return True

    def uses(self, n: int) -> int:
        """Channel uses of ``n`` data symbols, pilots and cyclic prefixes included; non-decreasing."""
        return n

    def data_uses(self, n: int) -> int:
        """Those of the channel uses that carry the ``n`` data symbols themselves: fewer than n over several streams."""
        return n

    def symbols(self, channel_uses: int) -> int:
        """Most data symbols that fit into ``channel_uses``: the inverse of :meth:`uses`, or 0."""
        low, high = 0, 1
        while self.uses(high) <= channel_uses:  # several streams carry more symbols than they take uses
            low, high = high, 2 * high
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.uses(middle) <= channel_uses else (low, middle - 1)
        return low

    @abstractmethod
    def realise(self, n: int, seeds: Sequence[int]) -> Any:
        """Fading and unit-variance noise for ``len(seeds)`` rows of ``n`` symbols.

        Row ``i`` depends on ``seeds[i]`` alone, and a longer row starts with the draws of a shorter one.
        """

    @abstractmethod
    def apply(self, x: Tensor, realisation: Any, no: Tensor) -> tuple[Tensor, Tensor]:
        """Send ``x`` [batch, n] at noise variance ``no`` [batch, 1]: ``(y, no_eff)``, both [batch, n]."""

    def capacity(self, n: int, realisation: Any, no: Tensor) -> Tensor:
        """Bits that each of ``n`` data symbols can carry with a Gaussian codebook and perfect receiver CSI.

        :param no: [batch, 1] float32, noise variance.
        :returns: [batch, n] float32; here log2(1 + 1 / no_eff) of the noise that :meth:`apply` leaves.
        """
        import torch

        x = torch.ones(len(no), n, dtype=torch.complex64)
        return torch.log2(1 + 1 / self.apply(x, realisation, no)[1])

    def soft(self, x: Tensor, realisation: Any, no: Tensor, bits: int) -> Tensor:
        """LLRs log p(bit = 1) / p(bit = 0) of QAM symbols ``x`` [batch, n] of ``bits`` bits each: [batch, n * bits]."""
        return modem(bits).demap(*self.apply(x, realisation, no))

    def gain(self, n: int, seeds: Sequence[int]) -> Tensor:
        """Received over transmitted power of rows of ``n`` symbols, [batch]: mean of |h|^2 per receive antenna.

        Its mean over realisations is 1, for any number of antennas: the SNR asked for is the SNR that is met. Here
        it is read off :meth:`capacity`, which is right for one antenna.
        """
        import torch

        bits = self.capacity(n, self.realise(n, seeds), torch.ones(len(seeds), 1))
        return (2**bits - 1).mean(dim=1)

    def footprint(self, n: int) -> int:
        """About how many bytes a row of ``n`` symbols takes while it is sent."""
        return 64 * n

    def __call__(self, x: Tensor, snr_db: SNR, seed: Seed, power: Power = "check") -> tuple[Tensor, Tensor]:
        """Send rows of symbols over the channel.

        :param x: [batch, n] complex64, mean power 1 in each row. Gradients flow through.
        :param snr_db: Es/N0 [dB] per receive antenna, averaged over fading: one for all rows, or one a row.
        :param seed: one integer a row, or one for all (row i then gets its own, derived from it and i).
        :param power: "check" refuses rows whose mean power is not 1 (within the spread that random symbols
            have), "normalise" scales each row to mean power 1, "trust" leaves the rows as they are.
        :returns: ``y`` [batch, n] complex64, equalised: y = x + noise; and ``no`` [batch, n] float32, the
            variance of that noise.
        :raises InputError: for rows of a wrong shape, type or power, and for an SNR that is not finite.
        """
        import torch

        if not isinstance(x, torch.Tensor) or x.ndim != 2 or not x.is_complex() or 0 in x.shape:
            got = f"{list(x.shape)} {x.dtype}" if isinstance(x, torch.Tensor) else type(x).__name__
            raise InputError(f"x must be a complex tensor [batch, n] with batch, n >= 1, not {got}")
        x = _powered(x.to(torch.complex64), power)
        parts = [
            self.apply(x[rows], realisation, no.to(x.device))
            for rows, realisation, no in self._parts(len(x), x.shape[1], snr_db, seed)
        ]
        y, no = (torch.cat(both) for both in zip(*parts, strict=True))
        return y, no

    def llr(self, x: Tensor, snr_db: SNR, seed: Seed, bits: int) -> Tensor:
        """Send QAM symbols of ``bits`` bits each, and demap: :meth:`__call__` for digital links.

        :returns: [batch, n * bits] float32, LLRs log p(bit = 1) / p(bit = 0).
        """
        import torch

        parts = [
            self.soft(x[rows], realisation, no, bits)
            for rows, realisation, no in self._parts(len(x), x.shape[1], snr_db, seed)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def information(self, n: int, snr_db: SNR, seed: Sequence[int]) -> Tensor:
        """Bits that each of ``n`` symbols can carry, [len(seed), n]: :meth:`capacity` of the same realisations."""
        import torch

        parts = self._parts(len(seed), n, snr_db, seed)
        return torch.cat([self.capacity(n, realisation, no) for _, realisation, no in parts])

    def _parts(self, batch: int, n: int, snr_db: SNR, seed: Seed) -> Iterator[tuple[slice, Any, Tensor]]:
        """Rows in parts of bounded memory, with their realisations and noise variances [rows, 1]."""
        import torch

        no = (10 ** (-snr_rows(snr_db, batch) / 10)).astype(np.float32)[:, None]
        seeds = row_seeds(seed, batch)
        step = max(_MEMORY // max(self.footprint(n), 1), 1)
        for first in range(0, batch, step):
            rows = slice(first, min(first + step, batch))
            yield rows, self.realise(n, seeds[rows]), torch.from_numpy(no[rows])

    def __repr__(self) -> str:
        options = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if not k.startswith("_"))
        return f"{type(self).__name__}({options})"


def register(name: str, **facts: Any) -> Callable[[type], type]:
    """Class decorator that enters a channel into :data:`CHANNELS` and gives it its name."""

    def enter(cls: type) -> type:
        cls.name = name  # type: ignore[attr-defined]
        return CHANNELS.register(name, **facts)(cls)

    return enter


def snr_rows(snr_db: Any, batch: int) -> NDArray[np.float64]:
    """[batch] SNRs in dB, from one number for all rows or one a row."""
    try:
        snr = np.asarray(snr_db, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"snr_db must be a number or one number a row, not {snr_db!r}") from None
    if snr.shape not in ((), (batch,)):
        raise InputError(
            f"snr_db has shape {list(snr.shape)} for {batch} rows; give one number, or one a row"
        )
    if not np.all(np.abs(snr) <= 150):  # also catches NaN; beyond, float32 runs out of noise power
        raise InputError(f"snr_db must be finite, between -150 and 150 dB, not {snr_db!r}")
    return np.broadcast_to(snr, (batch,))


def _powered(x: Tensor, power: Power) -> Tensor:
    if power == "trust":
        return x
    if power not in ("check", "normalise"):
        raise InputError(f"power must be 'check', 'normalise' or 'trust', not {power!r}")
    mean = (x.real.square() + x.imag.square()).mean(dim=1, keepdim=True)
    if power == "normalise":
        if not bool(((mean > 0) & mean.isfinite()).all()):
            raise InputError("x cannot be normalised: a row has no power, or values that are not finite")
        return x / mean.sqrt()
    tolerance = 0.02 + 4 / x.shape[1] ** 0.5  # four deviations of the mean power of Gaussian symbols
    wrong = ~((mean - 1).abs() <= tolerance)
    if bool(wrong.any()):
        row = int(wrong.flatten().nonzero()[0])
        raise InputError(
            f"row {row} of x has mean power {float(mean[row]):.3g}, but the SNR is defined for power 1 "
            f"(tolerance {tolerance:.2g}); scale it, or pass power='normalise'"
        )
    return x


def check_number(
    owner: str, field: str, value: object, low: float, high: float = float("inf"), whole: bool = False
) -> None:
    """:class:`InputError` unless ``value`` is a (whole) number in [low, high]."""
    kind = numbers.Integral if whole else numbers.Real
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:  # type: ignore[operator]
        number, top = (
            ("a whole number" if whole else "a number"),
            ("" if high == float("inf") else f" and <= {high:g}"),
        )
        raise InputError(f"{owner}: {field} must be {number} >= {low:g}{top}, not {value!r}")
