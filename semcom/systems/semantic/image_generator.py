"""Pictures from sentences at the receiver: a small network of our own, or a diffusion pipeline of the hub."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from channels.errors import InputError
from semcom import pretrained
from semcom.systems.semantic.text_jscc import Vocabulary
from semcom.types import Image
from semcom.vlm.quiet import quiet

EMBEDDED = "embedded"
SHIPPED = "image-generator"


class TextToImage(Protocol):
    """What draws a picture for a sentence, always the same one."""

    def __call__(self, text: str) -> Image:
        """uint8 [H, W, 3]."""
        ...


class ImageGenerator(nn.Module):
    """A transformer over the words; 8 x 8 places that look words up, each of which draws 8 x 8 pixels.

    :param words: the vocabulary.
    :param length: most words of a sentence.
    :param width: of the features.
    :param layers: of each transformer.
    """

    GRID, PATCH = 8, 8

    def __init__(self, words: Sequence[str], length: int = 40, width: int = 96, layers: int = 2) -> None:
        super().__init__()
        self.vocabulary, self.length = Vocabulary(words), length
        self.embedding = nn.Embedding(len(self.vocabulary), width)
        self.order = nn.Parameter(torch.randn(length, width) * 0.02)
        self.places = nn.Parameter(torch.randn(self.GRID**2, width) * 0.2)
        options: dict[str, Any] = {"dropout": 0.0, "batch_first": True, "norm_first": True}
        self.text = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 2 * width, **options) for _ in range(layers)
        )
        self.looks = nn.ModuleList(
            nn.TransformerDecoderLayer(width, 4, 2 * width, **options) for _ in range(layers)
        )
        pixels = 3 * self.PATCH**2
        self.draw = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, pixels)
        )

    def forward(self, ids: Tensor) -> Tensor:
        """Pictures [batch, 3, 64, 64] in about 0 to 1, of word numbers [batch, length]."""
        words = self.embedding(ids) + self.order
        for layer in self.text:
            words = layer(words)
        places = self.places.expand(len(ids), -1, -1)
        for layer in self.looks:
            places = layer(places, words)
        return F.fold(
            self.draw(places).transpose(1, 2), self.GRID * self.PATCH, self.PATCH, stride=self.PATCH
        )


class Embedded:
    """The small network.

    :param source: the name of a shipped folder, or a folder that ``semcom train image-generator`` wrote.
    """

    def __init__(self, source: str = SHIPPED) -> None:
        self._network = pretrained.load(source, lambda config: ImageGenerator(**config))

    @torch.inference_mode()
    def __call__(self, text: str) -> Image:
        """See :class:`TextToImage`."""
        network = self._network
        picture = network(torch.tensor([network.vocabulary.ids(text, network.length)]))[0]
        pixels: Image = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        return pixels


class Diffusion:
    """A text-to-image pipeline of diffusers (Stable Diffusion, SD-Turbo, ...), its noise seeded by the sentence.

    Only safetensors are read, and no code that comes with the weights is run.

    :param name: a hub id, or a folder that ``save_pretrained`` wrote.
    :param steps: of the sampler.
    :param guidance: scale of classifier-free guidance; 0 for distilled models.
    :param device: of torch.
    :raises InputError: diffusers is not installed, or the pipeline cannot be read.
    """

    def __init__(self, name: str, steps: int, guidance: float, device: str) -> None:
        try:
            from diffusers import AutoPipelineForText2Image
        except ImportError as error:
            raise InputError(
                f"generator: {name!r} needs diffusers: pip install 'semcom[diffusion]', or use 'embedded'"
            ) from error
        from semcom.vlm.load import hub_reachable

        local = Path(name).is_dir()
        try:
            with quiet():
                self._pipeline = AutoPipelineForText2Image.from_pretrained(
                    name,
                    torch_dtype=torch.float32,
                    use_safetensors=True,
                    trust_remote_code=False,
                    local_files_only=local or not hub_reachable(),
                ).to(device)
        except Exception as error:  # broken files raise anything
            cause = " ".join(str(error).split())[:200] or type(error).__name__
            raise InputError(
                f"generator: {name!r} is neither 'embedded' nor a text-to-image pipeline in a folder or on the hub "
                f"({cause})"
            ) from error
        self._pipeline.set_progress_bar_config(disable=True)
        self._steps, self._guidance = steps, guidance

    @torch.inference_mode()
    def __call__(self, text: str) -> Image:
        """See :class:`TextToImage`."""
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        noise = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
        with quiet():
            result = self._pipeline(
                text,
                num_inference_steps=self._steps,
                guidance_scale=self._guidance,
                generator=noise,
                output_type="pil",
            )
        return np.asarray(result.images[0].convert("RGB"))


def load(source: str, steps: int, guidance: float, device: str) -> TextToImage:
    """``embedded``, a folder of our own weights, or a pipeline of diffusers."""
    folder = Path(source)
    if source == EMBEDDED:
        return Embedded()
    if (folder / "config.json").is_file():
        return Embedded(str(folder.resolve()))
    return Diffusion(source, steps, guidance, device)


def fit(picture: Image, height: int, width: int) -> Image:
    """Resized."""
    if picture.shape[:2] == (height, width):
        return picture
    resized = PIL.Image.fromarray(picture).resize((width, height), PIL.Image.Resampling.BICUBIC)
    return np.asarray(resized)
