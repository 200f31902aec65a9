"""Procedural scenes with exact truth: the embedded data set.

A scene is 1 to 5 coloured shapes on a 3 x 3 grid over a textured, noisy background. One of them, the *main object*, is
the largest by a clear margin and gives the class label. The standard caption names every object with its colour and
rough place, the main object first; it leaves out sizes, orientations, marks and the background, so that pictures know
more than captions. Scene ``i`` of a split is a pure function of (split, i, size): no global state, no batch effects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channels.errors import InputError, unknown
from semcom.data import language
from semcom.data.language import COLORS, MARKS, ORIENTED, POSITIONS, SHAPES, TEXTURES, UNSEEN_TEXTURES
from semcom.data.registry import DATASETS
from semcom.types import Image, Sample

Floats = NDArray[np.float32]

SPLITS = ("train", "val", "test", "test-compositional", "test-crowded", "test-texture")
MAX_OBJECTS = 8
RGB = np.array(
    [
        (222, 44, 44),  # red
        (50, 190, 70),  # green
        (62, 96, 250),  # blue
        (244, 222, 48),  # yellow
        (250, 140, 30),  # orange
        (170, 74, 214),  # purple
        (66, 218, 226),  # cyan
        (244, 244, 244),  # white
    ],
    dtype=np.float32,
)
MARK_RGB = np.array((16, 16, 16), dtype=np.float32)
# One colour of each shape never appears in training: (colour, shape) with colour = (5 - 2 shape) mod 8.
HELD_OUT = np.array([(5 - 2 * s) % len(COLORS) for s in range(len(SHAPES))])

_SLOT = 32  # draws reserved for each object
_DRAWS = 64 + _SLOT * MAX_OBJECTS


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014): a vectorised counter-based generator."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _keys(split: str, indices: NDArray[np.int64]) -> NDArray[np.uint64]:
    base = int.from_bytes(hashlib.blake2b(split.encode(), digest_size=8).digest(), "big")
    with np.errstate(over="ignore"):
        return _mix(np.uint64(base) + indices.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def _uniform(keys: NDArray[np.uint64], count: int) -> NDArray[np.float64]:
    """``[B, count]`` uniforms in [0, 1), a function of each row's key alone."""
    with np.errstate(over="ignore"):
        counters = (np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0xD1342543DE82EF95)
        bits = _mix(keys[:, None] + counters)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


@dataclass(frozen=True)
class SceneBatch:
    """Truth of ``B`` scenes as arrays; object arrays are ``[B, 8]``, valid below ``count``, main object first."""

    size: int
    keys: NDArray[np.uint64]
    count: NDArray[np.int64]
    color: NDArray[np.int64]
    shape: NDArray[np.int64]
    large: NDArray[np.bool_]
    radius: Floats  # pixels
    cell: NDArray[np.int64]  # 0..8, raster order
    x: Floats  # pixels
    y: Floats
    quarter: NDArray[np.int64]  # 0 up, 1 right, 2 down, 3 left
    tilt: Floats  # radians
    mark: NDArray[np.int64]
    texture: NDArray[np.int64]  # index into TEXTURES, or len(TEXTURES) + index into UNSEEN_TEXTURES
    ground: Floats  # [B, 16] uniforms that draw the background


def draw_scenes(split: str, indices: Sequence[int] | NDArray[np.int64], size: int = 64) -> SceneBatch:
    """Draw the truth of the scenes ``indices`` of a split."""
    keys = _keys(split, np.asarray(indices, dtype=np.int64))
    u = _uniform(keys, _DRAWS)
    b = len(keys)
    slot = u[:, 64:].reshape(b, MAX_OBJECTS, _SLOT)
    crowded = split == "test-crowded"
    count = 6 + (u[:, 0] * 3).astype(int) if crowded else 1 + (u[:, 0] * 5).astype(int)
    cell = np.argsort(u[:, 1:10], axis=1)[:, :MAX_OBJECTS]
    # Half of the scenes draw colours, or shapes, from three values only: counts above one become common.
    few_colors, few_shapes = (u[:, 10] < 0.35)[:, None], ((u[:, 10] >= 0.35) & (u[:, 10] < 0.7))[:, None]
    color, shape = np.zeros((b, MAX_OBJECTS), int), np.zeros((b, MAX_OBJECTS), int)
    palette_c, palette_s = np.argsort(u[:, 11:19], axis=1), np.argsort(u[:, 19:25], axis=1)
    rows = np.arange(b)
    taken = np.zeros((b, len(COLORS), len(SHAPES)), bool)
    held = np.zeros((len(COLORS), len(SHAPES)), bool)
    held[HELD_OUT, np.arange(len(SHAPES))] = True
    for j in range(MAX_OBJECTS):
        # A score for each pair; the free pair of highest score wins: distinct pairs in one scene, without retries.
        score = _uniform(_mix(keys + np.uint64(7919 * (j + 1))), 48).reshape(b, len(COLORS), len(SHAPES))
        in_c = np.zeros((b, len(COLORS)), bool)
        in_c[rows[:, None], palette_c[:, :3]] = True
        in_s = np.zeros((b, len(SHAPES)), bool)
        in_s[rows[:, None], palette_s[:, :3]] = True
        preferred = (
            np.where(few_colors, in_c, True)[:, :, None] & np.where(few_shapes, in_s, True)[:, None, :]
        )
        score = score + preferred
        if split == "test-compositional":
            wants = np.ones(b, bool) if j == 0 else slot[:, j, 10] < 0.5
            score = score + 2.0 * (held[None] == wants[:, None, None])
        else:
            score = score - 4.0 * held[None]
        score[taken] = -9.0
        best = score.reshape(b, -1).argmax(axis=1)
        color[:, j], shape[:, j] = best // len(SHAPES), best % len(SHAPES)
        taken[rows, color[:, j], shape[:, j]] = True
    main = np.arange(MAX_OBJECTS) == 0
    large = (slot[:, :, 0] < 0.5) | main
    low, high = np.where(large, 8.2, 5.6), np.where(large, 9.6, 6.9)
    low, high = np.where(main, 11.0, low), np.where(main, 12.4, high)
    scale = size / 64
    radius = (low + slot[:, :, 1] * (high - low)) * scale
    x = ((cell % 3 + 0.5) * 64 / 3 + (slot[:, :, 2] - 0.5) * 4.4) * scale
    y = ((cell // 3 + 0.5) * 64 / 3 + (slot[:, :, 3] - 0.5) * 4.4) * scale
    # The main object and the large ones stay inside the picture.
    x, y = np.clip(x, radius + 0.5, size - radius - 0.5), np.clip(y, radius + 0.5, size - radius - 0.5)
    mark = np.where(large, (slot[:, :, 6] * len(MARKS)).astype(int), 0)
    if split == "test-texture":
        texture = len(TEXTURES) + (u[:, 25] * len(UNSEEN_TEXTURES)).astype(int)
    else:
        texture = (u[:, 25] * len(TEXTURES)).astype(int)
    return SceneBatch(
        size=size,
        keys=keys,
        count=count,
        color=color,
        shape=shape,
        large=large,
        radius=radius.astype(np.float32),
        cell=cell,
        x=x.astype(np.float32),
        y=y.astype(np.float32),
        quarter=(slot[:, :, 4] * 4).astype(int),
        tilt=((slot[:, :, 5] - 0.5) * 0.35).astype(np.float32),
        mark=mark,
        texture=texture,
        ground=u[:, 32:48].astype(np.float32),
    )


def _signed_distance(shape: int, u: Floats, v: Floats) -> Any:
    """Distance to the outline (negative inside) in units of the radius; the shape points to -v."""
    if shape == 0:  # circle
        return np.hypot(u, v) - 0.95
    if shape == 1:  # square
        return np.maximum(np.abs(u), np.abs(v)) - 0.8
    if shape == 2:  # triangle
        slant = (1.75 * np.abs(u) - 0.95 * (v + 1.0)) / 1.9912
        return np.maximum(slant, v - 0.75)
    if shape == 3:  # cross
        a, b = np.abs(u), np.abs(v)
        return np.maximum(np.minimum(a, b) - 0.33, np.maximum(a, b) - 0.95)
    if shape == 4:  # star with five points: fold the plane onto half of one point
        fifth = 2 * np.pi / 5
        angle = np.abs((np.arctan2(u, -v) + fifth / 2) % fifth - fifth / 2)
        rho = np.hypot(u, v)
        px, py = rho * np.cos(angle) - 1.05, rho * np.sin(angle)
        ex, ey = 0.46 * np.cos(fifth / 2) - 1.05, 0.46 * np.sin(fifth / 2)
        return (ex * py - ey * px) / np.hypot(ex, ey) * -1.0
    return np.maximum(np.hypot(u, v - 0.5) - 1.0, v - 0.5)  # dome


def _mark_distance(mark: int, u: Floats, v: Floats) -> Any:
    """The same for a mark; bars are horizontal in the image."""
    bar = np.maximum(np.abs(u) - 0.42, np.abs(v) - 0.13)
    if MARKS[mark] == "dot":
        return np.hypot(u, v) - 0.24
    if MARKS[mark] == "bar":
        return bar
    return np.minimum(bar, np.maximum(np.abs(v) - 0.42, np.abs(u) - 0.13))  # plus


def _texture(kind: int, g: Floats, size: int) -> Floats:
    """``[B, H, W]`` pattern in [-1, 1] for one kind of background; ``g`` are 16 uniforms per scene."""
    t = np.arange(size, dtype=np.float32) * (64 / size)
    angle = (g[:, 0] * np.pi)[:, None, None]
    a = t[None, None, :] * np.cos(angle) + t[None, :, None] * np.sin(angle)
    b = t[None, :, None] * np.cos(angle) - t[None, None, :] * np.sin(angle)
    period = (7 + 6 * g[:, 1])[:, None, None]
    pa, pb = a / period + g[:, 2, None, None], b / period + g[:, 3, None, None]
    name = (TEXTURES + UNSEEN_TEXTURES)[kind]
    tau = np.float32(2 * np.pi)
    if name == "plain":
        return (a - a.mean((1, 2), keepdims=True)) / 48
    if name == "stripes":
        return np.clip(3 * np.sin(tau * pa), -1, 1)
    if name == "checks":
        return np.clip(6 * np.sin(np.pi * pa) * np.sin(np.pi * pb), -1, 1)
    if name == "dots":
        return np.clip(9 * (0.27 - np.hypot(pa % 1 - 0.5, pb % 1 - 0.5)), -1, 1)
    if name == "waves":
        return np.clip(3 * np.sin(tau * (pa + 0.28 * np.sin(tau * pb * 0.6))), -1, 1)
    if name == "bricks":
        row = np.floor(pb)
        joint = np.minimum(np.abs(pb % 1 - 0.5), np.abs((pa * 0.5 + 0.5 * (row % 2)) % 1 - 0.5) * 2)
        return np.clip(1 - 14 * joint, -1, 1)
    if name == "rings":
        cx, cy = 64 * g[:, 4, None, None], 64 * g[:, 5, None, None]
        return np.clip(
            3 * np.sin(tau * np.hypot(t[None, None, :] - cx, t[None, :, None] - cy) / period), -1, 1
        )
    return np.sin(tau * pa) * np.sin(tau * pb * 0.7) + np.sin(tau * (pa + pb) * 0.37)  # blobs


def render(scenes: SceneBatch) -> NDArray[np.uint8]:
    """Pictures of the scenes, ``uint8 [B, size, size, 3]``."""
    size, b = scenes.size, len(scenes.keys)
    g = scenes.ground
    pattern = np.zeros((b, size, size), np.float32)
    for kind in np.unique(scenes.texture):
        chosen = scenes.texture == kind
        pattern[chosen] = _texture(int(kind), g[chosen], size)
    base = 55 + 50 * g[:, 6:7] + (g[:, 7:10] - 0.5) * 36
    contrast = (15 + 12 * g[:, 10])[:, None, None]
    margin = int(np.ceil(14 * size / 64))
    canvas = np.zeros((b, size + 2 * margin, size + 2 * margin, 3), np.float32)
    inner = canvas[:, margin : margin + size, margin : margin + size]
    inner[:] = base[:, None, None, :] + (pattern * contrast)[..., None]
    offsets = np.arange(-margin, margin + 1, dtype=np.int64)
    for j in range(int(scenes.count.max())):  # the main object first: the others must not hide behind it
        for shape in range(len(SHAPES)):
            rows = np.flatnonzero((scenes.count > j) & (scenes.shape[:, j] == shape))
            if rows.size:
                _paint(canvas, scenes, rows, j, shape, offsets, margin)
    with np.errstate(over="ignore"):
        counters = (np.arange(size * size, dtype=np.uint64) + np.uint64(1 << 20)) * np.uint64(
            0xD1342543DE82EF95
        )
        bits = _mix(scenes.keys[:, None] + counters).view(np.uint8).reshape(b, size, size, 8)
    # Sum of two bytes: triangular noise, variance 2 (256^2 - 1) / 12; standard deviation 4 to 8 grey levels.
    noise = bits[..., 0:6:2].astype(np.float32) + bits[..., 1:6:2] - 255
    inner += noise * ((4 + 4 * g[:, 11]) / 104.5)[:, None, None, None]
    return np.clip(np.rint(inner), 0, 255).astype(np.uint8)


def _paint(
    canvas: Floats,
    scenes: SceneBatch,
    rows: NDArray[np.int64],
    j: int,
    shape: int,
    offsets: NDArray[np.int64],
    margin: int,
) -> None:
    """Blend object ``j`` of the scenes ``rows``, all of one shape, into the padded canvas."""
    x, y, r = scenes.x[rows, j], scenes.y[rows, j], scenes.radius[rows, j]
    cx, cy = np.floor(x).astype(int), np.floor(y).astype(int)
    dx = (np.float32(0.5) + (cx - x).astype(np.float32)[:, None] + offsets.astype(np.float32))[:, None, :]
    dy = (np.float32(0.5) + (cy - y).astype(np.float32)[:, None] + offsets.astype(np.float32))[:, :, None]
    turned = scenes.quarter[rows, j] if SHAPES[shape] in ORIENTED else 0
    angle = (scenes.tilt[rows, j] + turned * (np.pi / 2))[:, None, None].astype(np.float32)
    u = (dx * np.cos(angle) + dy * np.sin(angle)) / r[:, None, None]
    v = (dy * np.cos(angle) - dx * np.sin(angle)) / r[:, None, None]
    cover = np.clip(0.5 - _signed_distance(shape, u, v) * r[:, None, None], 0, 1)[..., None]
    jitter = (_uniform(scenes.keys[rows] + np.uint64(104729 * (j + 1)), 3).astype(np.float32) - 0.5) * 30
    paint = np.clip(RGB[scenes.color[rows, j]] + jitter, 0, 255)[:, None, None, :]
    yy = (cy[:, None] + offsets + margin)[:, :, None]
    xx = (cx[:, None] + offsets + margin)[:, None, :]
    at = (rows[:, None, None], np.clip(yy, 0, canvas.shape[1] - 1), np.clip(xx, 0, canvas.shape[2] - 1))
    blended = canvas[at] * (1 - cover) + paint * cover
    for mark in range(1, len(MARKS)):
        chosen = scenes.mark[rows, j] == mark
        if chosen.any():
            rr = r[chosen][:, None, None]
            ink = np.clip(0.5 - _mark_distance(mark, dx[chosen] / rr, dy[chosen] / rr) * rr, 0, 1)[..., None]
            blended[chosen] = blended[chosen] * (1 - ink) + MARK_RGB * ink
    canvas[at] = blended


def truth(scenes: SceneBatch, row: int) -> dict[str, Any]:
    """The scene graph of one scene: its background and its objects in caption order (main object first)."""
    texture = int(scenes.texture[row])
    objects: list[dict[str, Any]] = [
        {
            "color": COLORS[scenes.color[row, j]],
            "shape": SHAPES[scenes.shape[row, j]],
            "position": POSITIONS[scenes.cell[row, j]],
            "size": "large" if scenes.large[row, j] else "small",
            "mark": MARKS[scenes.mark[row, j]],
            "orientation": language.DIRECTIONS[scenes.quarter[row, j]]
            if SHAPES[scenes.shape[row, j]] in ORIENTED
            else None,
            "cell": int(scenes.cell[row, j]),
            "x": float(scenes.x[row, j]),
            "y": float(scenes.y[row, j]),
            "radius": float(scenes.radius[row, j]),
        }
        for j in range(int(scenes.count[row]))
    ]
    objects[1:] = sorted(objects[1:], key=lambda o: o["cell"])
    return {"texture": (TEXTURES + UNSEEN_TEXTURES)[texture], "objects": objects}


@DATASETS.register("scenes", source="procedural, made on the fly")
class Scenes:
    """Procedural scenes with exact captions, labels, scene graphs and questions.

    ``split``: train, val, test, test-compositional (colour-shape pairs never trained), test-crowded (6 to 8 objects),
    test-texture (unseen backgrounds). ``size``: pixels, 64 to 128. ``questions``: how many per image, of distinct types
    (all that the scene allows when None).
    """

    def __init__(
        self,
        split: str = "test",
        samples: int = 1000,
        size: int = 64,
        offset: int = 0,
        questions: int | None = None,
    ) -> None:
        if split not in SPLITS:
            raise unknown("split of data set 'scenes':", split, SPLITS)
        if samples < 1:
            raise InputError(f"data.samples is {samples}; it must be at least 1")
        if not 64 <= size <= 128:
            raise InputError(f"data.size is {size}; scenes are 64 to 128 pixels")
        if offset < 0:
            raise InputError(f"data.offset is {offset}; it must be at least 0")
        if questions is not None and questions < 1:
            raise InputError(
                f"data.questions is {questions}; it must be at least 1, or left out for all types"
            )
        self.name = f"scenes/{split}"
        self.labels = language.LABELS
        self.label_prompt, self.label_question = language.LABEL_PROMPT, language.LABEL_QUESTION
        self.split, self.samples, self.size, self.offset, self.questions = (
            split,
            samples,
            size,
            offset,
            questions,
        )

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> Sample:
        return self.batch(index, index + 1)[0]

    def batch(self, start: int, stop: int) -> list[Sample]:
        """Samples ``start`` to ``stop`` - 1, drawn together; the same as one by one."""
        if not 0 <= start < stop <= self.samples:
            raise IndexError(f"scenes {start}:{stop} of {self.samples}")
        scenes = draw_scenes(self.split, np.arange(start, stop) + self.offset, self.size)
        return [
            self._sample(scenes, i, start + i + self.offset, image) for i, image in enumerate(render(scenes))
        ]

    def _sample(self, scenes: SceneBatch, row: int, index: int, image: Image) -> Sample:
        scene = truth(scenes, row)
        rng = np.random.Generator(np.random.Philox(key=int(scenes.keys[row])))
        captions = tuple(language.caption(scene, phrasing) for phrasing in range(len(language.PHRASINGS)))
        questions = language.questions(scene, rng)
        if self.questions is not None and self.questions < len(questions):
            chosen = sorted(rng.choice(len(questions), self.questions, replace=False))
            questions = [questions[i] for i in chosen]
        main = scene["objects"][0]
        return Sample(
            id=f"{self.split}-{index}",
            image=image,
            captions=captions,
            label=f"{main['color']} {main['shape']}",
            questions=tuple(questions),
            scene=scene,
        )
