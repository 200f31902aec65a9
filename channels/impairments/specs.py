"""Impaired channels from what a scenario says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from channels.base import Channel
from channels.errors import InputError
from channels.impairments.base import IMPAIRMENTS, Impairment
from channels.impairments.wrapper import Impaired


def impaired(
    channel: Channel,
    specs: Sequence[str | Mapping[str, Any] | Impairment],
    waveform: str | None = None,
    fft: int = 64,
) -> Impaired:
    """:class:`Impaired` from what a scenario says.

    :param specs: names, or mappings {"name": ..., option: ...}, of :data:`IMPAIRMENTS`.
    :raises InputError: for names and options that are not known, and for values that are not possible.
    """
    if isinstance(specs, str | Mapping) or not isinstance(specs, Sequence):
        raise InputError(f"impairments must be a list of names or mappings, not {specs!r}")
    return Impaired(channel, [_create(i, spec) for i, spec in enumerate(specs)], waveform, fft)


def _create(position: int, spec: Any) -> Impairment:
    if isinstance(spec, Impairment):
        return spec
    options = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
    name = options.pop("name", None)
    if not isinstance(name, str) or not all(isinstance(option, str) for option in options):
        raise InputError(
            f"impairment {position} must be a name or a mapping {{name: ..., option: ...}}, not {spec!r}; "
            f"known: {', '.join(sorted(IMPAIRMENTS))}"
        )
    return IMPAIRMENTS.create(name, **options)
