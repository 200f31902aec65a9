"""Random results frames in the shape of ``Results.to_frame()``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

KINDS = {
    "jpeg": "image",
    "hevc-intra": "image",
    "caption-text": "text",
    "embedding": "embedding",
    "visual-tokens": "tokens",
    "decide-at-transmitter": "answer",
}
INFORMED = ("decide-at-transmitter",)
SNRS = (-5.0, 5.0, 15.0)
BUDGETS = (128, 512)
TYPES = ("colour", "count", "texture")
PIXELS = 64 * 64


def interval(score: float, rng: np.random.Generator) -> dict[str, float]:
    """A score with limits on both sides."""
    low, high = score * rng.uniform(0.8, 1), score + (1 - score) * rng.uniform(0, 0.2)
    return {"score": score, "ci_low": low, "ci_high": high}


def random_frame(
    seed: int,
    channels: tuple[str, ...] = ("rayleigh",),
    schemes: tuple[tuple[str, float], ...] = (("qpsk", 0.5),),
    draws: int = 1,
    tasks: tuple[str, ...] = ("vqa", "captioning"),
    labels: tuple[str, ...] = tuple(KINDS),
) -> pd.DataFrame:
    """Every point with its own random score; embeddings cannot be captioned; a few points sent nothing."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for task in tasks:
        types = ["", *(TYPES if task == "vqa" else ())]
        common = {"task": task, "metric": f"metric-{task}", "samples": 50, "seed": 1}
        for name, centre in (("ceiling", 0.97), ("blind", 0.2)):
            for kind in types:
                rows.append(
                    {
                        **common,
                        **interval(centre + rng.uniform(-0.02, 0.02), rng),
                        **dict.fromkeys(("payload_bits", "channel_uses", "cbr", "bpp", "outage"), 0.0),
                        **dict.fromkeys(("channel", "modulation", "coding", "link"), ""),
                        **{
                            "system": name,
                            "code_rate": np.nan,
                            "snr_db": np.nan,
                            "budget_uses": 0,
                            "draw": 0,
                        },
                        **{"applicable": True, "question_type": kind},
                    }
                )
        for label in labels:
            applicable = not (label == "embedding" and task == "captioning")
            for channel in channels:
                for modulation, rate in schemes:
                    for budget in BUDGETS:
                        uses = 0.0 if rng.random() < 0.1 else budget * rng.uniform(0.1, 1)
                        bits = round(uses)
                        for snr in SNRS:
                            for draw in range(draws):
                                for kind in types if applicable else [""]:
                                    scores = interval(float(rng.uniform(0.1, 1)), rng)
                                    if not applicable:
                                        scores = dict.fromkeys(scores, np.nan)
                                    rows.append(
                                        {
                                            **common,
                                            **scores,
                                            "system": label,
                                            "channel": channel,
                                            "modulation": modulation,
                                            "code_rate": rate,
                                            "coding": "ldpc",
                                            "link": f"{channel} {modulation}-{rate} ldpc",
                                            "snr_db": snr,
                                            "budget_uses": budget,
                                            "draw": draw,
                                            "payload_bits": float(bits),
                                            "channel_uses": uses,
                                            "cbr": uses / (3 * PIXELS),
                                            "bpp": bits / PIXELS,
                                            "outage": float(rng.uniform(0, 1)),
                                            "applicable": applicable,
                                            "question_type": kind,
                                        }
                                    )
    return pd.DataFrame(rows)


def pick(frame: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """The rows over all question types with these values."""
    rows = frame[frame["question_type"] == where.pop("question_type", "")]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows
