"""Dual encoders against transformers' own forward pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoProcessor

from channels.errors import InputError
from semcom.vlm.dual import TransformersDualEncoder
from semcom.vlm.load import load_dual_encoder
from semcom.vlm.quiet import quiet
from tests.vlm import tiny

TEXTS = ["a red circle at top-left", "Blue.", "", "a small square " * 20]


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_embeddings_are_those_of_the_model(
    family: str, folders: dict[str, Path], rng: np.random.Generator
) -> None:
    encoder = load_dual_encoder(str(folders[family]))
    images = [tiny.picture(rng) for _ in range(3)] + [tiny.picture(rng, 20, 51), tiny.picture(rng, 3, 90)]
    with quiet(), torch.no_grad():
        model, processor = (
            AutoModel.from_pretrained(folders[family]),
            AutoProcessor.from_pretrained(folders[family]),
        )
        inputs = processor(
            images=images,
            text=TEXTS,
            return_tensors="pt",
            padding="max_length" if family == "siglip" else True,
            truncation=True,
            input_data_format="channels_last",
        )
        out = model(**inputs)
    for ours, theirs in (
        (encoder.embed_images(images), out.image_embeds),
        (encoder.embed_texts(TEXTS), out.text_embeds),
    ):
        theirs = torch.nn.functional.normalize(theirs, dim=-1).numpy()
        assert ours.dtype == np.float32 and ours.shape == (len(theirs), encoder.dim)
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
    assert np.ptp(encoder.embed_images(images), axis=0).max() > 0.05  # the oracle would pass on constants too


def test_batches_change_nothing(dual: TransformersDualEncoder, rng: np.random.Generator) -> None:
    images, texts = [tiny.picture(rng) for _ in range(7)], TEXTS * 2
    small = TransformersDualEncoder(dual.model, dual.processor, "small", "", batch=2)
    np.testing.assert_allclose(small.embed_images(images), dual.embed_images(images), atol=1e-5)
    np.testing.assert_allclose(small.embed_texts(texts), dual.embed_texts(texts), atol=1e-5)


def test_nothing_gives_nothing(dual: TransformersDualEncoder) -> None:
    assert dual.embed_images([]).shape == dual.embed_texts([]).shape == (0, dual.dim)


def test_short_way_to_pixels_is_the_processors(
    dual: TransformersDualEncoder, rng: np.random.Generator
) -> None:
    images = [tiny.picture(rng) for _ in range(4)]
    assert dual.pixels.size == (tiny.SIZE, tiny.SIZE)
    theirs = dual.processor.image_processor(images, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(dual.pixels(images), theirs, atol=1e-5, rtol=0)


def test_special_tokens_in_a_text_are_words(dual: TransformersDualEncoder) -> None:
    ours = dual.embed_texts(["a red<eos> circle", "a <BOS>red circle", "a red circle"])
    np.testing.assert_allclose(ours[:2], ours[[2, 2]], atol=1e-5)
    assert np.isfinite(dual.embed_texts(["\ud800 \x00 \U0001f600" * 9])).all()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((32, 32), np.uint8),
        np.zeros((32, 32, 4), np.uint8),
        np.zeros((0, 32, 3), np.uint8),
        np.zeros((32, 32, 3), np.float32),
    ],
)
def test_wrong_images_are_named(dual: TransformersDualEncoder, image: np.ndarray) -> None:
    with pytest.raises(InputError, match="uint8"):
        dual.embed_images([image])
