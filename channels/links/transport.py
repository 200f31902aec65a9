"""Transport blocks of 5G NR on the slots of its physical uplink shared channel (PUSCH)."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from channels import fec
from channels.errors import InputError
from channels.fec.bits import crc, scrambling, to_bytes
from channels.links.mcs import table

if TYPE_CHECKING:
    from torch import Tensor

_RNTI = _CELL = 1
_C_INIT = _RNTI * 2**15 + _CELL  # of scrambling   [TS 38.211, 6.3.1.1]


@dataclass(frozen=True, eq=False)
class TransportBlock:
    """A transport block on its slot: Sionna's transmitter, and its receiver up to the LLRs.

    ``size``, ``crc`` and ``code_bits``: information bits, bits of all CRCs, and code bits; ``bits_per_element`` of
    these are on each data element of the grid.
    """

    mcs_index: int
    size: int
    crc: int
    code_bits: int
    bits_per_element: int
    layers: int
    transmitter: Any
    receiver: Any
    perfect: bool

    def transmit(self, bits: NDArray[np.uint8], h: Tensor, w: Tensor, no: Tensor) -> Tensor:
        """[size] bits through one slot: [code_bits] LLRs."""
        import torch

        h = h * self.layers**-0.5
        x = self.transmitter(torch.from_numpy(bits.astype(np.float32))[None, None])
        y = (h * x[:, None, None]).sum(dim=(3, 4)) + no.sqrt() * w
        llr: Tensor = self.receiver(y, no, h) if self.perfect else self.receiver(y, no)
        return llr[0, 0]

    def decode(self, llr: Sequence[Tensor]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Transport blocks [blocks, code_bits] in several parts: [blocks, size] bits, and [blocks] CRC verdicts.

        The inverse of Sionna's TBEncoder (TS 38.212, 6.2), as its TBDecoder; all LDPC code blocks at once.
        """
        import torch

        code = self.transmitter._tb_encoder
        signs = torch.from_numpy(1 - 2.0 * scrambling(self.code_bits, _C_INIT)).float()
        # All LDPC blocks have the length of the longest; the bits that the others do not send say nothing.
        unsent = len(code.output_perm_inv) - self.code_bits
        together = torch.nn.functional.pad(torch.cat(list(llr)) * signs, (0, unsent))[:, code.output_perm_inv]
        k, n = code.ldpc_encoder.k, code.ldpc_encoder.n
        bits, _ = fec.ldpc(k, n, 1).decode(together.reshape(-1, n))
        kept = k - (code.cb_crc_encoder.crc_length if code.cb_crc_encoder else 0)
        blocks = bits[:, :kept].reshape(len(together), -1)
        valid = [crc(to_bytes(b[: self.size])) == to_bytes(b[self.size :]) for b in blocks]
        return blocks[:, : self.size], np.array(valid)


@lru_cache(64)
def transport_block(
    mcs_index: int, mcs_table: int, resource_blocks: int, layers: int, csi: str
) -> TransportBlock:
    """Built once; :class:`ValueError` where Sionna's LDPC has no such code."""
    from sionna.phy.nr import PUSCHConfig, PUSCHReceiver, PUSCHTransmitter

    config = PUSCHConfig(n_rnti=_RNTI)
    config.carrier.n_size_grid, config.carrier.n_cell_id = resource_blocks, _CELL
    config.dmrs.additional_position = 1
    config.num_layers = config.num_antenna_ports = layers
    config.tb.mcs_table, config.tb.mcs_index = mcs_table, mcs_index
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about rates above 948/1024; without noise they do decode
        transmitter = PUSCHTransmitter(config, return_bits=False, precision="single", device="cpu")
        receiver = PUSCHReceiver(
            transmitter,
            channel_estimator="perfect" if csi == "perfect" else None,
            tb_decoder=lambda llr: (llr, None),
            precision="single",
            device="cpu",
        )
    code = transmitter._tb_encoder
    if code.k_padding:  # TBEncoder drops or adds bits in silence where its size is not the one asked for
        raise ValueError(f"Its transport block has {code.tb_size} bits instead of {config.tb_size}.")
    inner = code.num_cbs * code.cb_crc_encoder.crc_length if code.cb_crc_encoder else 0
    return TransportBlock(
        mcs_index,
        config.tb_size,
        code.tb_crc_encoder.crc_length + inner,
        config.num_coded_bits,
        int(config.tb.num_bits_per_symbol) * layers,
        layers,
        transmitter,
        receiver,
        csi == "perfect",
    )


@lru_cache(64)
def most_robust(mcs_table: int, resource_blocks: int, layers: int, csi: str) -> TransportBlock:
    """The lowest row of the table that Sionna's LDPC can encode."""
    for index in range(len(table(mcs_table))):
        with contextlib.suppress(ValueError):
            return transport_block(index, mcs_table, resource_blocks, layers, csi)
    raise InputError(f"pusch: no row of mcs_table={mcs_table} fits resource_blocks={resource_blocks}")
