"""Flat fading between two arrays of antennas: multiplexing, beamforming, diversity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from channels.base import Channel, check_number, register
from channels.errors import InputError
from channels.mimo import arrays
from channels.mimo.detect import LINEAR, SOFT, detect, equalise
from channels.mimo.planes import gram, loaded, log2_det, planes, times, total, unplanes
from channels.mimo.striping import Piece, pieces
from channels.modem import modem

if TYPE_CHECKING:
    from torch import Tensor

DETECTORS = (*LINEAR, *SOFT)
PRECODINGS = ("none", "svd", "mrt", "alamouti")


@dataclass(frozen=True, eq=False)
class SpatialRealisation:
    """Gains and unit-variance noise of a flat MIMO channel, complex64.

    ``h`` [batch, blocks, rx, tx] in the directions that fade independently: antennas, or the eigenvectors of their
    correlation. The receiver stays in its own: white noise looks the same from all directions. ``columns`` [batch,
    blocks, rows, streams]: what the streams see, their power inside. ``noise`` [batch, uses, rows]. ``pilots``: the
    noise of the pilots, as ``h``, where there are pilots.
    """

    h: Tensor
    columns: Tensor
    noise: Tensor
    pilots: Tensor | None


@register("mimo", family="mimo")
class MIMO(Channel):
    """Flat Rayleigh block fading between arrays: y = H x + w with H_ij ~ CN(0, 1) and total transmit power 1.

    Symbol i of a row goes over stream i mod ``streams`` of channel use i // ``streams``, with power 1 / ``streams``
    in each. Streams without a symbol in the last use are silent.

    :param streams: None: all transmit antennas without precoder, min(tx, rx) with "svd", 1 otherwise.
    :param detector: "lmmse", "zf", "mrc" (one stream), or the joint detectors "kbest" and "ep", for QAM: where they
        are asked for analog symbols, they equalise with LMMSE. K-best keeps 64 candidates and is worse than LMMSE at
        SNRs where far more than 64 are likely.
    :param precoder: "none": an antenna a stream; "svd": the strongest eigenbeams, known to the transmitter, with
        equal powers [Tse & Viswanath 2005, sec. 7.1.1]; "mrt": the strongest alone; "alamouti": space-time block
        code of two antennas and two channel uses, unknown to the transmitter [Alamouti 1998].
    :param coherence: channel uses (of data) that share one H; None: the whole row.
    :param correlation: r of the exponential model at both ends, E h_i h_j* = r^|i - j|, in Kronecker form.
    :param csi: "perfect"; "estimated": LMMSE estimate of H from ``tx_antennas`` * ``pilots`` channel uses of
        orthogonal pilots a coherence block, at the asked SNR and charged. The correlation is known. What the
        estimate misses is added to the noise, as y = H_est x + (E x + w).   [Hassibi & Hochwald 2003, sec. II]
    :param pilots: pilot symbols an antenna and coherence block; None: 1.
    """

    def __init__(
        self,
        tx_antennas: int = 2,
        rx_antennas: int = 2,
        streams: int | None = None,
        detector: str = "lmmse",
        precoder: str = "none",
        coherence: int | None = None,
        correlation: float = 0.0,
        csi: str = "perfect",
        pilots: int | None = None,
    ) -> None:
        for field, antennas in (("tx_antennas", tx_antennas), ("rx_antennas", rx_antennas)):
            check_number(self.name, field, antennas, 1, 64, whole=True)
        arrays.check_choice(self.name, "detector", detector, DETECTORS)
        arrays.check_choice(self.name, "precoder", precoder, PRECODINGS)
        arrays.check_choice(self.name, "csi", csi, arrays.CSI)
        arrays.check_coherence(self.name, coherence)
        arrays.check_correlation(self.name, correlation)
        arrays.check_pilots(self.name, csi, pilots)
        most = min(tx_antennas, rx_antennas)
        default = {"none": tx_antennas, "svd": most}.get(precoder, 1)
        if streams is not None:
            check_number(self.name, "streams", streams, 1, whole=True)
        self.tx_antennas, self.rx_antennas = tx_antennas, rx_antennas
        self.streams = default if streams is None else streams
        self.detector, self.precoder, self.coherence = detector, precoder, coherence
        self.correlation, self.csi = float(correlation), csi
        self.pilots = (pilots or 1) if csi == "estimated" else None
        problem = self._problem(most)
        if problem:
            raise InputError(f"{self.name}: {problem}")

    def _problem(self, most: int) -> str | None:
        """What is wrong with the options taken together."""
        antennas, streams = f"{self.tx_antennas} transmit antennas", self.streams
        both = f"{antennas} and {self.rx_antennas} receive antennas"
        if self.precoder == "none" and streams != self.tx_antennas:
            return f"streams must be {self.tx_antennas} without precoder, one an antenna, not {streams}"
        if self.precoder == "svd" and streams > most:
            return f"streams must be at most {most} with {both}, not {streams}"
        if self.precoder in ("mrt", "alamouti") and streams != 1:
            return f"streams must be 1 with precoder {self.precoder!r}, not {streams}"
        if self.precoder == "alamouti" and self.tx_antennas != 2:
            return f"precoder 'alamouti' must have 2 transmit antennas, not {self.tx_antennas}"
        if self.precoder == "alamouti" and (self.coherence or 2) % 2:
            return f"coherence must be even with precoder 'alamouti', whose code takes 2 uses, not {self.coherence}"
        if self.precoder in ("svd", "mrt") and self.csi == "estimated":
            return f"csi must be 'perfect' with precoder {self.precoder!r}, which needs it at the transmitter too"
        if self.detector in ("zf", "kbest") and streams > self.rx_antennas:
            return f"detector {self.detector!r} must have at most {self.rx_antennas} streams with {both}, not {streams}"
        if self.detector == "mrc" and streams > 1:
            return f"detector must be one of lmmse, zf, kbest, ep with {streams} streams, not 'mrc'"
        return None

    @property
    def _span(self) -> int:
        """Channel uses that are detected together, which the code of Alamouti turns into rows of a taller H."""
        return 2 if self.precoder == "alamouti" else 1

    @property
    def _width(self) -> int:
        """Symbols that are detected together."""
        return self.streams * self._span

    @property
    def _powers(self) -> NDArray[np.float64]:
        """[rx, tx] mean powers of the directions that fade independently."""
        rx, tx = (arrays.exponential(a, self.correlation)[0] for a in (self.rx_antennas, self.tx_antennas))
        return np.outer(rx, tx)

    def _grid(self, n: int) -> tuple[int, int, int]:
        """Uses (of ``_span`` channel uses) of n symbols, uses of one block, blocks."""
        uses = -(-n // self._width)
        length = min((self.coherence or uses * self._span) // self._span, uses) or 1
        return uses, length, -(-uses // length)

    def uses(self, n: int) -> int:
        """ceil(n / streams), to the next even number for Alamouti's code, plus the pilots of each block."""
        uses, _, blocks = self._grid(n)
        return uses * self._span + blocks * self.tx_antennas * (self.pilots or 0)

    @property
    def equalises(self) -> bool:
        """Not with a detector that works on the constellation."""
        return self.detector in LINEAR

    def data_uses(self, n: int) -> int:
        """:meth:`uses` without the pilots."""
        return self._grid(n)[0] * self._span

    def _fading(self, n: int, seeds: Sequence[int]) -> NDArray[np.complex64]:
        shape = self._grid(n)[2], self.rx_antennas, self.tx_antennas
        return arrays.draw(seeds, "fading", shape) * np.sqrt(self._powers).astype(np.float32)

    def realise(self, n: int, seeds: Sequence[int]) -> SpatialRealisation:
        """Draw gains, noise and the noise of the pilots, row by row."""
        import torch

        h = torch.from_numpy(self._fading(n, seeds))
        columns = self._columns(h)
        noise = arrays.draw(seeds, "noise", (self._grid(n)[0], columns.shape[2]))
        pilots = arrays.draw(seeds, "pilots", tuple(h.shape[1:])) if self.pilots else None
        return SpatialRealisation(
            h, columns, torch.from_numpy(noise), None if pilots is None else torch.from_numpy(pilots)
        )

    def _columns(self, h: Tensor) -> Tensor:
        """What the streams see of ``h`` [batch, blocks, rx, tx]: [batch, blocks, rows, streams]."""
        import torch

        if self.precoder in ("svd", "mrt"):
            # The transmitter sends along right singular vectors, the receiver looks along left ones.
            values = np.linalg.svd(h.numpy(), compute_uv=False)[..., : self.streams]
            return torch.diag_embed(torch.from_numpy(values / np.float32(self.streams**0.5))).to(h.dtype)
        if self.correlation:
            turn = torch.from_numpy(arrays.exponential(self.tx_antennas, self.correlation)[1])
            turn = turn.T.reshape(*turn.shape, *[1] * 3)
            real, imag = (total(turn * part.transpose(0, 1)[:, None]) for part in planes(h, 2))
            h = torch.complex(real.float(), imag.float()).permute(2, 3, 1, 0)
        if self.precoder == "alamouti":  # second use conjugated: y2* = (h2* s1 - h1* s2) / sqrt(2) + w2*
            h = torch.cat([h, torch.stack([h[..., 1].conj(), -h[..., 0].conj()], dim=-1)], dim=-2)
        return torch.view_as_complex(torch.view_as_real(h) / h.shape[-1] ** 0.5)

    def _estimate(self, realisation: SpatialRealisation, no: Tensor) -> tuple[Tensor, Tensor]:
        """Estimated columns, and the variance of their errors [batch, rows, streams].

        Directions fade independently, so the estimate is scalar: v / (v + e) (h + noise of variance e), with error
        variance v e / (v + e).
        """
        import torch

        assert realisation.pilots is not None and self.pilots is not None
        v, e = torch.from_numpy(self._powers), no.double()[..., None] / self.pilots  # [rx, tx], [batch, 1, 1]
        weight = (v / (v + e)).float()[:, None, ..., None]
        noise = e.sqrt().float()[:, None, ..., None]
        h = torch.view_as_real(realisation.h) + noise * torch.view_as_real(realisation.pilots)
        spread = torch.from_numpy(arrays.exponential(self.tx_antennas, self.correlation)[1].T ** 2)
        error = v * e / (v + e)
        error = total(spread[..., None, None] * error.movedim(-1, 0)[:, None]).movedim(0, -1)
        if self.precoder == "alamouti":
            error = torch.cat([error, error.flip(-1)], dim=-2)
        return self._columns(torch.view_as_complex(weight * h)), error / self.tx_antennas

    def _pieces(self, n: int) -> Iterator[Piece]:
        return pieces(n, self._width, self._grid(n)[1])

    def _receive(
        self, x: Tensor, realisation: SpatialRealisation, no: Tensor
    ) -> Iterator[tuple[Piece, Tensor, Tensor, Tensor]]:
        """For each piece: what is received [batch, blocks, length, rows], what the receiver knows of the columns
        [batch, blocks, 1, rows, streams], and the variance of the noise at each row, broadcastable.
        """
        import torch

        columns, known, error = realisation.columns, realisation.columns, None
        if self.pilots:
            known, error = self._estimate(realisation, no.cpu())
        for piece in self._pieces(x.shape[1]):
            h, g = (piece.blocks_of(a).to(x.device) for a in (columns, known))
            symbols = piece.grid(x[:, piece.first * self._width :][:, : piece.uses * piece.streams])
            w = piece.grid(
                realisation.noise[:, piece.first : piece.first + piece.uses].to(x.device).flatten(1)
            )
            scale = no.double()[..., None].sqrt()
            sent, noise = times(planes(h, 2), planes(symbols, 1)), planes(w, 1)
            y = unplanes((sent[0] + scale * noise[0], sent[1] + scale * noise[1]))
            variance = no[..., None]
            if error is not None:  # not the same at each row: scaled to be
                variance = no.double() + total(error[..., : piece.streams].movedim(-1, 0)).to(x.device)
                scale = variance.rsqrt().float()[:, None, None]
                y = torch.view_as_complex(torch.view_as_real(y) * scale[..., None])
                g = torch.view_as_complex(torch.view_as_real(g) * scale[..., None, None])
                variance = torch.ones_like(no)[..., None]
            yield piece, y, g, variance

    def apply(self, x: Tensor, realisation: SpatialRealisation, no: Tensor) -> tuple[Tensor, Tensor]:
        """Linear estimates of the symbols and their noise, interference between streams included."""
        import torch

        linear = self.detector if self.detector in LINEAR else "lmmse"
        parts = []
        for piece, received, h, variance in self._receive(x, realisation, no):
            parts.append([piece.row(part) for part in equalise(received, h, variance, linear)])
        y, variance = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
        return y, variance

    def soft(self, x: Tensor, realisation: SpatialRealisation, no: Tensor, bits: int) -> Tensor:
        """LLRs of the joint detectors; of the equalised symbols otherwise."""
        import torch

        if self.detector in LINEAR:
            return modem(bits).demap(*self.apply(x, realisation, no))
        parts = []
        for piece, y, h, variance in self._receive(x, realisation, no):
            h = h.expand(*y.shape[:3], *h.shape[3:]).flatten(1, 2)
            parts.append(
                piece.row(detect(y.flatten(1, 2), h, variance[..., 0], bits, self.detector)[:, None])
            )
        return torch.cat(parts, dim=1)

    def capacity(self, n: int, realisation: SpatialRealisation, no: Tensor) -> Tensor:
        """log2 det(I + G^H G / no) of the streams' columns G in each use, shared evenly by its symbols."""
        import torch

        parts = []
        for piece in self._pieces(n):
            real, imag = gram(planes(piece.blocks_of(realisation.columns), 2))
            bits = log2_det(loaded((real / no[..., None], imag / no[..., None]), torch.ones(1).double()))
            shared = (bits / piece.streams).float()[..., None]
            parts.append(piece.row(shared.expand(-1, -1, piece.length, piece.streams)))
        return torch.cat(parts, dim=1)

    def gain(self, n: int, seeds: Sequence[int]) -> Tensor:
        """Mean of |H_ij|^2 over antennas and blocks."""
        import torch

        return torch.from_numpy((np.abs(self._fading(n, seeds)) ** 2).mean(axis=(1, 2, 3)))

    def footprint(self, n: int) -> int:
        """With the products of each antenna and stream, in double precision."""
        return 64 * n + 100 * self._grid(n)[0] * (self.rx_antennas * self._span + self._width) * (
            self._width + 1
        )
