"""Images to a model's pixel values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers.image_processing_backends import PilBackend

from channels.errors import InputError
from semcom.types import Image


class Pixels:
    """The image processor of a checkpoint, with a short way for images that already have the model's size.

    The short way is the same arithmetic, ``(x / 255 - mean) / std``, done once for the batch and without PIL;
    it is taken only for processors that do nothing else.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.size = _fixed_size(
            processor
        )  # (height, width) that needs no resizing; None: always ask the processor
        if self.size is not None:
            scale = float(processor.rescale_factor) if processor.do_rescale else 1.0
            mean, std = (
                (processor.image_mean, processor.image_std) if processor.do_normalize else ((0.0,), (1.0,))
            )
            self._gain = torch.tensor([scale / s for s in std], dtype=torch.float32)
            self._offset = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], dtype=torch.float32)

    def __call__(self, images: Sequence[Image]) -> torch.Tensor:
        """``[B, 3, H, W]`` float32 for uint8 RGB images ``[H, W, 3]`` of any sizes."""
        for image in images:
            check(image)
        if all(image.shape[:2] == self.size for image in images):
            batch = torch.from_numpy(np.stack(images)).float()
            return (batch * self._gain + self._offset).permute(0, 3, 1, 2).contiguous()
        # the layout is said: a picture three pixels wide or high cannot be guessed
        inputs = self.processor(list(images), return_tensors="pt", input_data_format="channels_last")
        return inputs["pixel_values"].float()


def check(image: Image) -> None:
    """:class:`InputError` unless the image is uint8 ``[H, W, 3]`` with at least one pixel."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise InputError(f"an image must be uint8 [H, W, 3] RGB, not {image.dtype} {list(image.shape)}.")


def _fixed_size(processor: Any) -> tuple[int, int] | None:
    if getattr(type(processor), "_preprocess", None) is not PilBackend._preprocess or getattr(
        processor, "do_pad", False
    ):
        return None
    sizes = [processor.size] if processor.do_resize else []
    if getattr(processor, "do_center_crop", False):
        sizes.append(processor.crop_size)
    shapes = set()
    for size in map(dict, sizes):
        edge = size.get("shortest_edge")
        shapes.add((size.get("height") or edge, size.get("width") or edge))
    if len(shapes) != 1:
        return None
    height, width = shapes.pop()
    return (height, width) if height and width else None
