"""RGB No More on the embedded VLM: accuracy on the same JPEG bytes as the pixel model, operations, CPU time.

The claim (Park and Johnson, CVPR 2023): the accuracy of the RGB model with far fewer decoding operations. The fair
control is trained exactly like the DCT tower (same layers, steps, batches, targets), but on decoded pixels.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jpeglib
import numpy as np
import torch
from numpy.typing import NDArray

from semcom import data, pretrained, stats, tasks
from semcom.codecs import dct
from semcom.codecs.jpeg import Jpeg
from semcom.systems.base import Models
from semcom.systems.compressed_domain.rgb_no_more import load
from semcom.systems.compressed_domain.tower import DctTower
from semcom.training import rgb_no_more as recipe
from semcom.types import Recovered
from semcom.vlm.llava import Llava
from semcom.vlm.load import load_generative
from semcom.vlm.trunk import Trunk

from .base import FAILS, HOLDS, OPEN, Claim, verdict

NAME = "rgb-no-more"
QUALITIES = (2, 10, 80)
STEPS = 300  # of each short training
MARGIN = 0.03  # "the accuracy of the RGB model": at most 3 points less

Scores = NDArray[np.float64]
Interval = tuple[float, float]


def claims(samples: int, seeds: int, cache: Path) -> Iterator[Claim]:
    """All claims; trainings are kept in ``cache``."""
    torch.set_num_threads(1)
    model = load_generative("embedded")
    assert isinstance(model, Llava)
    yield from symbols(model.trunk, samples)
    yield counted(model.trunk)
    yield from times(model.trunk)
    yield from accuracy(model, samples, seeds, cache)


def accuracy(model: Llava, samples: int, seeds: int, cache: Path) -> Iterator[Claim]:
    """VQA on the same bytes, against the tower on decoded pixels as it is and trained equally."""
    trunk, scenes = model.trunk, data.load("scenes", split="test", samples=samples)
    task = tasks.create("vqa", Models(generative=model), scenes)
    drawn = [scenes[i] for i in range(samples)]
    queries = [(i, q) for i, sample in enumerate(drawn) for q in task.queries(sample)]
    names = [q.sample for _, q in queries]

    def scores(student: recipe.Student, files: Sequence[bytes]) -> Scores:
        seen: list[Recovered] = recipe.see(student, files, trunk)
        asked = [q for _, q in queries]
        answers = task.answer([seen[i] for i, _ in queries], asked)
        return np.array([task.score(a, q) for a, q in zip(answers, asked, strict=True)])

    def compare(
        claim: str, quality: int, first: Sequence[Scores], second: Sequence[Scores], note: str
    ) -> Claim:
        found = [stats.paired_difference(a, b, names)[:3] for a, b in zip(first, second, strict=True)]
        low, high = min(f[1] for f in found), max(f[2] for f in found)
        size = np.mean([len(file) for file in files[quality]])
        each = ", ".join(f"{100 * f[0]:+.1f}" for f in found)
        measured = (
            f"quality {quality}, {size:.0f} bytes: {np.mean(first):.3f} against {np.mean(second):.3f}, {each} points "
            f"(n = {samples} images, {len(queries)} questions{note})"
        )
        return Claim(NAME, f"{claim}, within 3 points", measured, (low, high), verdict(low, high, -MARGIN))

    files = {quality: [Jpeg().encode(sample.image, quality) for sample in drawn] for quality in QUALITIES}
    shipped = load(NAME, trunk, model.fingerprint, model.name)
    for quality in QUALITIES:
        pixels = scores(recipe.PixelTower(trunk, 0), files[quality])
        pulled, learnt = (scores(tower, files[quality]) for tower in (DctTower(trunk), shipped))
        yield compare("pull-back: VQA of the RGB tower on the same bytes", quality, [pulled], [pixels], "")
        yield compare("trained: VQA of the RGB tower on the same bytes", quality, [learnt], [pixels], "")
    pairs = [
        (student(model, "dct", s, cache), student(model, "pixels", s, cache)) for s in range(1, seeds + 1)
    ]
    for quality in QUALITIES:
        ours, control = ([scores(pair[i], files[quality]) for pair in pairs] for i in (0, 1))
        note = f"; {STEPS} steps each; interval over images, the widest of {seeds} seeds"
        yield compare("trained: VQA of an RGB tower trained equally", quality, ours, control, note)


def student(model: Llava, domain: str, seed: int, cache: Path) -> recipe.Student:
    """A shortly trained tower on coefficients or on pixels; from ``cache`` where it is there."""
    trunk, layers = model.trunk, recipe.LAYERS
    folder = cache / f"{domain}-{layers}-{STEPS}-{seed}"

    def make(config: dict[str, object]) -> recipe.Student:
        return DctTower(trunk, layers) if domain == "dct" else recipe.PixelTower(trunk, layers)

    if not (folder / "model.safetensors").exists():
        new = recipe.new_student(trunk, layers) if domain == "dct" else recipe.PixelTower(trunk, layers)
        recipe.distil(folder, new, trunk, torch.from_numpy(model.token_scale), STEPS, seed)
        pretrained.save(folder, new, {})
        (folder / "checkpoint.pt").unlink()
    return pretrained.load(folder, make)


def symbols(trunk: Trunk, samples: int) -> Iterator[Claim]:
    """The paper's count of decoding operations of an 8 x 8 block, with the number of symbols measured here."""
    size = (trunk.image_size, trunk.image_size)
    scenes = data.load("scenes", split="test", samples=samples)
    for quality in QUALITIES:
        saved = []
        for i in range(samples):
            planes = dct.read(Jpeg().encode(scenes[i].image, quality), size)
            assert planes is not None
            n = symbols_per_block(planes)
            saved.append(1 - (3 * n + 128) / (3 * n + 1717))
        low, high = stats.clustered_interval(saved, range(samples))
        measured = f"quality {quality}: {100 * np.mean(saved):.1f} % fewer (n = {samples} images)"
        claim = "decoding operations a block, 3 N + 128 against 3 N + 1717: at least 87.6 % fewer"
        yield Claim(NAME, claim, measured, (low, high), verdict(low, high, 0.876))


def symbols_per_block(planes: dct.Planes) -> float:
    """Entropy-coded symbols of a block on average: DC, each other number that is not 0, and the end of the block."""
    blocks = np.concatenate([plane.reshape(-1, 64) for plane in planes])
    return float((1 + (blocks[:, 1:] != 0).sum(1) + (blocks[:, -1] == 0)).mean())


def operations(width: int) -> tuple[int, int]:
    """Multiplications and additions for a patch of 8 x 8 pixels from quantised coefficients to its embedding.

    On coefficients: scaling 1.5 blocks; splitting half a block of chroma, two products with 8 x 8 matrices; the map.
    On pixels: scaling; 16 fast inverse DCTs a block of 11 multiplications and 29 additions [Loeffler 1989]; libjpeg's
    smooth chroma upsampling, 4 operations a sample; colours, 8 a pixel; the convolution. Rounding, clipping and
    normalisation of pixels are not counted.
    """
    dequantise = 64 * 3 // 2
    ours = dequantise + 2 * 2 * 8 * 64 // 2 + 2 * 96 * width
    pixels = dequantise + 16 * (11 + 29) * 3 // 2 + 2 * 4 * 64 + 8 * 64 + 2 * 192 * width
    return ours, pixels


def counted(trunk: Trunk) -> Claim:
    """Operations from quantised coefficients to patch embeddings; the paper gives 44 to 47 % fewer for its models."""
    ours, pixels = operations(trunk.width)
    decode = [n - 2 * inputs * trunk.width for n, inputs in ((ours, 96), (pixels, 192))]
    saved = 1 - ours / pixels
    measured = (
        f"{ours} against {pixels} a patch, {100 * saved:.1f} % fewer; without the embedding itself {decode[0]} "
        f"against {decode[1]} (counted, not timed)"
    )
    claim = "operations from entropy-decoded coefficients to patch embeddings: at least 44 % fewer"
    return Claim(NAME, claim, measured, (saved, saved), verdict(saved, saved, 0.44))


def times(trunk: Trunk, repeats: int = 40) -> Iterator[Claim]:
    """CPU time from a file to patch embeddings, on a picture of the tower's size and on one of 512 x 512."""
    scenes = data.load("scenes", split="test", samples=64)
    tiles = np.stack([scenes[i].image for i in range(64)]).reshape(8, 8, 64, 64, 3)
    large = np.ascontiguousarray(tiles.swapaxes(1, 2).reshape(512, 512, 3))
    tower, convolution = DctTower(trunk), trunk.tower.embeddings.patch_embedding
    for image in (scenes[0].image, large):
        size, codec = (image.shape[0], image.shape[1]), Jpeg()
        payload = codec.encode(image, 50)
        file = codec.restore(payload, size)
        with tempfile.NamedTemporaryFile(suffix=".jpeg") as temporary:
            path = Path(temporary.name)
            path.write_bytes(file)

            def coefficients(path: Path = path) -> None:
                jpeg = jpeglib.read_dct(str(path))
                tables = [jpeg.get_component_qt(i).astype(np.float32) for i in range(3)]
                planes = dct.Planes(*(p * t for p, t in zip((jpeg.Y, jpeg.Cb, jpeg.Cr), tables, strict=True)))
                tower.embed(torch.from_numpy(dct.patches(planes, 8)))

            def pixels(path: Path = path) -> None:
                _convolve(convolution, jpeglib.read_spatial(str(path)).spatial)

            def shipped(payload: bytes = payload, size: tuple[int, int] = size) -> None:
                planes = dct.read(payload, size)
                assert planes is not None
                tower.embed(torch.from_numpy(dct.patches(planes, 8)))

            def pillow(file: bytes = file, codec: Jpeg = codec, size: tuple[int, int] = size) -> None:
                decoded = codec.read(file, size)
                assert decoded is not None
                _convolve(convolution, decoded)

            pairs = (
                ("jpeglib for both", coefficients, pixels),
                ("as shipped, against Pillow", shipped, pillow),
            )
            for what, ours, theirs in pairs:
                a, b = timed(ours, theirs, repeats)
                low, high = _middle(a / b)
                measured = (
                    f"{size[0]} x {size[1]}, {what}: {1e3 * np.median(a):.2f} ms against {1e3 * np.median(b):.2f} ms "
                    f"(CPU, one thread, {repeats} repeats in turn; their middle 95 %)"
                )
                decided = HOLDS if high < 1 else FAILS if low > 1 else OPEN
                yield Claim(
                    NAME,
                    "less CPU time from file to patch embeddings (ratio)",
                    measured,
                    (low, high),
                    decided,
                )


def _convolve(convolution: torch.nn.Module, image: NDArray[np.uint8]) -> None:
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    convolution((pixels / 127.5 - 1).contiguous())


@torch.inference_mode()
def timed(a: Callable[[], None], b: Callable[[], None], repeats: int) -> tuple[Scores, Scores]:
    """CPU seconds of ``a`` and ``b``, run in turn, after a warm-up."""
    found = np.zeros((repeats, 2))
    for row in (0, *range(repeats)):
        for column, function in enumerate((a, b)):
            start = time.process_time()
            for _ in range(5):
                function()
            found[row, column] = (time.process_time() - start) / 5
    return found[:, 0], found[:, 1]


def _middle(x: Scores) -> Interval:
    """The middle 95 % of single repeats: medians of one run are surer than runs on a shared machine agree."""
    low, high = np.quantile(x, [0.025, 0.975])
    return float(low), float(high)
