"""Rate and distortion of the picture codecs on the scenes' test split.

    python benchmarks/rate_distortion.py [--images 200] [--out benchmarks/results]

Table: PSNR of each codec's best quality (by bisection over all of them) that fits so many bytes, headers abbreviated,
and how much more the learned codec has on the same images: mean and 95 % bootstrap interval over the images where the
other codec fits at all. Figure: mean bytes and mean PSNR at fixed qualities, bars are 95 % intervals of the mean.
"""

from __future__ import annotations

import argparse
import json
import platform
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from semcom import codecs, stats
from semcom.codecs.base import Ladder
from semcom.data.scenes import draw_scenes, render
from semcom.report.style import looks, styled
from semcom.types import Image

NAMES = ("learned", "jpeg", "webp", "avif", "hevc-intra")
BYTES = (40, 60, 80, 100, 125, 150, 200, 300, 400, 600)
RUNGS = 12  # of each ladder, for the figure
SHOWN_BYTES = 700

Floats = NDArray[np.float64]


def psnr(a: Image, b: Image) -> float:
    """In dB."""
    return float(20 * np.log10(255) - 10 * np.log10(np.mean((a.astype(float) - b) ** 2)))


def measure(name: str, images: list[Image]) -> tuple[Floats, Floats]:
    """PSNR [image, budget] (NaN where nothing fits) and bytes and PSNR [image, rung, 2] of one codec."""
    codec = codecs.create(name)
    rungs = np.unique(np.linspace(0, len(codec.ladder) - 1, RUNGS).astype(int)).tolist()
    best, curve = np.full((len(images), len(BYTES)), np.nan), np.zeros((len(images), len(rungs), 2))
    for i, image in enumerate(images):
        ladder, size = Ladder(codec, image), (image.shape[0], image.shape[1])
        for j, room in enumerate(BYTES):
            code = ladder.best(room)
            shown = None if code is None else codec.decode(code, size)
            if shown is not None:
                best[i, j] = psnr(image, shown)
        for j, rung in enumerate(rungs):
            code = ladder.coded(rung)
            shown = codec.decode(code, size)
            assert shown is not None, (name, rung)
            curve[i, j] = len(code), psnr(image, shown)
    return best, curve


def gain(ours: Floats, theirs: Floats) -> dict[str, float] | None:
    """How many dB more, on the images where both fit."""
    both = np.flatnonzero(~np.isnan(ours) & ~np.isnan(theirs))
    if len(both) < 0.1 * len(ours):
        return None
    mean, low, high, _ = stats.paired_difference(ours[both] / 100, theirs[both] / 100, both.tolist())
    return {"mean_db": 100 * mean, "low_db": 100 * low, "high_db": 100 * high, "images": len(both)}


def table(best: dict[str, Floats]) -> str:
    """Markdown: a row for each number of bytes."""
    rivals = NAMES[1:]
    lines = ["| bytes | " + " | ".join([*NAMES, *(f"learned - {n}" for n in rivals)]) + " |"]
    lines.append("|" + "---|" * (1 + len(NAMES) + len(rivals)))
    for j, room in enumerate(BYTES):
        cells = [str(room)]
        for name in NAMES:
            fits = ~np.isnan(best[name][:, j])
            share = "" if fits.all() else f" ({fits.mean():.0%} fit)"
            cells.append(f"{np.nanmean(best[name][:, j]):.2f}{share}" if fits.mean() >= 0.1 else "-")
        for name in rivals:
            found = gain(best["learned"][:, j], best[name][:, j])
            cells.append(
                "-"
                if found is None
                else f"{found['mean_db']:+.2f} ({found['low_db']:+.2f} to {found['high_db']:+.2f})"
            )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


@styled
def draw(curves: dict[str, Floats], path: Path) -> None:
    """The rate-distortion curves."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, look in looks(dict.fromkeys(NAMES, "image")).items():
        curve = curves[name]
        x, y = curve.mean(0).T
        half = 1.96 * curve[:, :, 1].std(0, ddof=1) / len(curve) ** 0.5
        keep = x <= 1.2 * SHOWN_BYTES
        axes.errorbar(
            x[keep],
            y[keep],
            half[keep],
            color=look.colour,
            marker=look.marker,
            markersize=4,
            linewidth=2 if name == "learned" else 1,
            label=name,
        )
    axes.set(
        xlim=(0, SHOWN_BYTES), xlabel="bytes an image of 64 x 64 (abbreviated headers)", ylabel="PSNR, dB"
    )
    axes.set_title("Scenes, test split: PSNR at fixed qualities", loc="left")
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = list(render(draw_scenes("test", np.arange(options.images))))
    best, curves = {}, {}
    for name in NAMES:
        best[name], curves[name] = measure(name, images)
        print(f"# {name}", flush=True)
    shown = table(best)
    print(shown)
    options.out.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {
        "command": f"python benchmarks/rate_distortion.py --images {options.images}",
        "date": date.today().isoformat(),
        "machine": platform.machine(),
        "codecs": {name: codecs.create(name).version for name in NAMES},
        "gain of the learned codec, dB": {
            name: {str(room): gain(best["learned"][:, j], best[name][:, j]) for j, room in enumerate(BYTES)}
            for name in NAMES[1:]
        },
        "mean bytes and PSNR at fixed qualities": {n: c.mean(0).round(2).tolist() for n, c in curves.items()},
        "table": shown.splitlines(),
    }
    (options.out / "rate_distortion.json").write_text(json.dumps(content, indent=1) + "\n")
    draw(curves, options.out / "rate_distortion.png")


if __name__ == "__main__":
    main()
