"""What each image patch shows: targets of the throw-away dense heads and of the attention supervision."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from semcom.data.language import COLORS, DIRECTIONS, MARKS, ORIENTED, SHAPES, TEXTURES
from semcom.data.scenes import SceneBatch

IGNORE = -100
# Head -> number of classes; class 0 of colour, shape and extent is the background.
HEADS = {
    "color": len(COLORS) + 1,
    "shape": len(SHAPES) + 1,
    "extent": 4,
    "orientation": len(DIRECTIONS),
    "mark": len(MARKS),
    "texture": len(TEXTURES),
}


def owners(scenes: SceneBatch, grid: int) -> NDArray[np.int64]:
    """Which object each patch shows, ``[B, grid * grid]``: its index in the scene, or -1 for the background."""
    pitch = scenes.size / grid
    centers = (np.arange(grid) + 0.5) * pitch
    px, py = np.tile(centers, grid), np.repeat(centers, grid)
    owner = np.full((len(scenes.keys), grid * grid), -1)
    for j in range(int(scenes.count.max())):
        dx, dy = px - scenes.x[:, j, None], py - scenes.y[:, j, None]
        inside = np.hypot(dx, dy) < 0.85 * scenes.radius[:, j, None]
        inside |= np.maximum(np.abs(dx), np.abs(dy)) <= pitch / 2  # the patch that holds the centre
        owner[inside & (scenes.count > j)[:, None]] = j
    return owner


def targets(scenes: SceneBatch, grid: int) -> dict[str, torch.Tensor]:
    """Class of each patch for each head, int64 ``[B, grid * grid]``; -100 where the head has nothing to say."""
    owner = owners(scenes, grid)
    rows = np.arange(len(owner))[:, None]
    on = owner >= 0
    j = np.maximum(owner, 0)
    shape = scenes.shape[rows, j]
    large = scenes.large[rows, j]
    oriented = on & np.isin(shape, [SHAPES.index(s) for s in ORIENTED])
    texture = np.where(scenes.texture < len(TEXTURES), scenes.texture, IGNORE)
    found = {
        "color": np.where(on, scenes.color[rows, j] + 1, 0),
        "shape": np.where(on, shape + 1, 0),
        "extent": np.where(on, np.where(j == 0, 3, np.where(large, 2, 1)), 0),
        "orientation": np.where(oriented, scenes.quarter[rows, j], IGNORE),
        "mark": np.where(on & large, scenes.mark[rows, j], IGNORE),
        "texture": np.repeat(texture[:, None], grid * grid, axis=1),
    }
    return {name: torch.from_numpy(value) for name, value in found.items()}
