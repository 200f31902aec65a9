"""Makers of tiny random models in the formats of the hub, and of random pictures and tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModel,
    AutoModelForImageTextToText,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    SiglipConfig,
    SiglipModel,
    SiglipProcessor,
    SiglipVisionConfig,
    VipLlavaConfig,
    VipLlavaForConditionalGeneration,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from semcom.types import Image
from semcom.vlm import build
from semcom.vlm.quiet import quiet

COLORS = ["red", "green", "blue", "yellow"]
PLACES = ["top-left", "top-right", "bottom-left", "bottom-right"]
WORDS = [
    *COLORS,
    *PLACES,
    "a small large circle square triangle at the image is there what color shape where how many ? . ,",
    "yes no zero one two three four dark light describe",
]
SIZE = 32


def picture(rng: np.random.Generator, height: int = SIZE, width: int = SIZE) -> Image:
    """Random pixels."""
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def clip(folder: Path, seed: int = 0) -> Path:
    """A tiny CLIP of the embedded family."""
    with quiet():
        build.new_dual_encoder(
            folder,
            WORDS,
            SIZE,
            8,
            hidden=32,
            layers=2,
            heads=2,
            projection=16,
            text_hidden=32,
            text_layers=2,
            seed=seed,
        )
        _shake(folder, AutoModel, seed)
    return folder


def llava(folder: Path, dual: Path, seed: int = 0) -> Path:
    """A tiny LLaVA of the embedded family on the tower of ``dual``: 16 visual tokens of 32 numbers."""
    with quiet():
        build.new_generative(folder, dual, WORDS, hidden=32, layers=2, heads=2, seed=seed)
        _shake(folder, AutoModelForImageTextToText, seed)
    return folder


def siglip(folder: Path, seed: int = 0) -> Path:
    """A tiny SigLIP whose texts are padded to 12 tokens."""
    vocabulary = build._vocabulary(WORDS)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = SiglipConfig(
        text_config={
            **sizes,
            "vocab_size": len(vocabulary),
            "max_position_embeddings": 12,
            "pad_token_id": 0,
        },
        vision_config={**sizes, "image_size": SIZE, "patch_size": 8},
    )
    processor = SiglipProcessor(
        image_processor=SiglipImageProcessorPil(size={"height": SIZE, "width": SIZE}),
        tokenizer=build._tokenizer(vocabulary, 12, ends=True),
    )
    return _save(folder, SiglipModel, config, processor, seed)


def siglip_llava(folder: Path, seed: int = 0, layers: int = 3) -> Path:
    """A LLaVA on a SigLIP tower, which has no class token: 16 visual tokens of 32 numbers; grouped-query attention."""
    vocabulary = build._vocabulary([*WORDS, build.ANSWER])
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
    config = LlavaConfig(
        vision_config=SiglipVisionConfig(
            **sizes, num_hidden_layers=3, image_size=SIZE, patch_size=8, vision_use_head=False
        ).to_dict(),
        text_config=LlamaConfig(
            **sizes,
            num_hidden_layers=layers,
            num_key_value_heads=2,
            vocab_size=len(vocabulary),
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=3,
        ).to_dict(),
        image_token_index=vocabulary[build.IMAGE],
        image_seq_length=16,
        vision_feature_layer=-2,
        vision_feature_select_strategy="full",
    )
    processor = LlavaProcessor(
        image_processor=SiglipImageProcessorPil(size={"height": SIZE, "width": SIZE}),
        tokenizer=build._tokenizer(vocabulary, 128, ends=False),
        patch_size=8,
        vision_feature_select_strategy="full",
        chat_template=build.CHAT_TEMPLATE,
    )
    return _save(folder, LlavaForConditionalGeneration, config, processor, seed)


def vipllava(folder: Path, seed: int = 0) -> Path:
    """A chat model with an image placeholder that is not LLaVA: two vision layers, one layer norm."""
    vocabulary = build._vocabulary([*WORDS, build.ANSWER])
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = VipLlavaConfig(
        vision_config=CLIPVisionConfig(**sizes, image_size=SIZE, patch_size=8).to_dict(),
        text_config=LlamaConfig(
            **sizes, vocab_size=len(vocabulary), pad_token_id=0, bos_token_id=2, eos_token_id=3
        ).to_dict(),
        image_token_index=vocabulary[build.IMAGE],
        vision_feature_layers=[-2, -1],
    )
    processor = LlavaProcessor(
        image_processor=build._image_processor(SIZE),
        tokenizer=build._tokenizer(vocabulary, 128, ends=False),
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=build.CHAT_TEMPLATE,
    )
    return _save(folder, VipLlavaForConditionalGeneration, config, processor, seed)


def blip(folder: Path, seed: int = 0) -> Path:
    """A captioning model without chat template or image token, which insists on an image."""
    vocabulary = build._vocabulary(WORDS)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BlipConfig(
        text_config={
            **sizes,
            "vocab_size": len(vocabulary),
            "encoder_hidden_size": 32,
            "max_position_embeddings": 64,
            "pad_token_id": 0,
            "bos_token_id": 2,
            "eos_token_id": 3,
            "sep_token_id": 3,
        },
        vision_config={**sizes, "image_size": SIZE, "patch_size": 8},
    )
    processor = BlipProcessor(
        image_processor=BlipImageProcessorPil(size={"height": SIZE, "width": SIZE}),
        tokenizer=build._tokenizer(vocabulary, 64, ends=True),
    )
    return _save(folder, BlipForConditionalGeneration, config, processor, seed)


def _save(folder: Path, family: Any, config: Any, processor: Any, seed: int) -> Path:
    with quiet():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            family(config).save_pretrained(folder)
        processor.save_pretrained(folder)
        _shake(folder, family, seed)
    return folder


def _shake(folder: Path, family: Any, seed: int) -> None:
    """Larger weights: those of a fresh model are so small that every input gives nearly the same output."""
    model = family.from_pretrained(folder)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in model.parameters():
            weights += 0.2 * torch.randn(weights.shape, generator=generator)
    model.save_pretrained(folder)
