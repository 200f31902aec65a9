"""Link adaptation: which scheme an adaptive link uses at each SNR, settled before a run starts."""

from __future__ import annotations

from dataclasses import replace

from channels.errors import InputError
from semcom.scenario import Scenario
from semcom.schema import LinkSpec


def resolved(scenario: Scenario) -> Scenario:
    """The scenario with every adaptive link replaced by what its measured table chooses.

    The transmitter knows the average SNR of the sweep and takes the scheme of the highest spectral efficiency whose
    block error rate, measured on this very channel, stays under the target. Tables are measured once and kept
    (:class:`channels.AdaptiveLink`); seeds are fixed, so the choice is the same everywhere.

    :raises InputError: an SNR of the sweep for which a link lists no scheme.
    """
    links: list[LinkSpec] = []
    for number in sorted({link.entry for link in scenario.links}):
        group = [link for link in scenario.links if link.entry == number]
        if group[0].target_bler is None:
            _refuse_gaps(scenario, group)
            links += group
        else:
            links += _adapted(scenario, group)
    return replace(scenario, links=tuple(links))


def _adapted(scenario: Scenario, group: list[LinkSpec]) -> list[LinkSpec]:
    """The candidates that are chosen at some SNR, each with its SNRs."""
    import channels
    from channels.fec import code_rate
    from semcom.link import radio_channel

    first = group[0]
    if first.coding != "ldpc" or set(first.features) - {"impairments"}:
        raise InputError(
            f"link: adaptive mcs is for coding 'ldpc' without {', '.join(sorted(first.features)) or first.coding}"
        )
    channel = radio_channel(first.channel, first.options, first.features.get("impairments"))
    assert first.target_bler is not None
    adaptive = channels.AdaptiveLink(channel, [link.mcs for link in group], first.target_bler)
    chosen: dict[tuple[str, float], list[float]] = {}
    for snr_db in scenario.snr_db:
        scheme = adaptive.choice(snr_db).mcs
        chosen.setdefault((scheme.modulation, float(code_rate(scheme.code_rate))), []).append(snr_db)
    return [
        replace(link, snr_db=tuple(snrs), target_bler=None)
        for link in group
        if (snrs := chosen.get((link.modulation, float(code_rate(link.code_rate)))))
    ]


def _refuse_gaps(scenario: Scenario, group: list[LinkSpec]) -> None:
    """Every SNR of the sweep needs a scheme."""
    if any(link.snr_db is None for link in group):
        return
    covered = {snr for link in group for snr in link.snr_db or ()}
    if missing := [snr for snr in scenario.snr_db if snr not in covered]:
        shown = ", ".join(f"{snr:g}" for snr in missing)
        raise InputError(
            f"link: no mcs of channel {group[0].channel!r} lists the snr_db {shown} of the sweep"
        )
