"""New, untrained members of the embedded family: a small CLIP and a small LLaVA on its vision tower.

Both are the library's own classes with small configurations, written by ``save_pretrained``, so that the
folder is read by the very code that reads a checkpoint of the hub. Their tokeniser is a closed vocabulary of
whole words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from semcom.vlm.prompts import CAPTION
from semcom.vlm.quiet import quiet

# CLIP's text tower reads eos_token_id == 2 as "old checkpoint, pool at the highest id": <eos> must not be 2.
PAD, UNK, BOS, EOS, IMAGE = "<pad>", "<unk>", "<bos>", "<eos>", "<image>"
SPECIAL = (PAD, UNK, BOS, EOS, IMAGE)
WORD = r"\w+(?:-\w+)*|[^\w\s]"  # 'top-left' is one word, every punctuation mark is one
ANSWER = " answer :"
CHAT_TEMPLATE = (
    f"{BOS}"
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    f"{ANSWER}"
    "{% for part in message['content'] %} {{ part['text'] }}{% endfor %}"
    f" {EOS}"
    "{% else %}{% for part in message['content'] %}"
    f"{{% if part['type'] == 'image' %}}{IMAGE}{{% else %}} {{{{ part['text'] }}}}{{% endif %}}"
    "{% endfor %}{% endif %}{% endfor %}"
    f"{{% if add_generation_prompt %}}{ANSWER}{{% endif %}}"
)


def new_dual_encoder(
    folder: str | Path,
    words: Sequence[str],
    image_size: int = 64,
    patch_size: int = 8,
    hidden: int = 128,
    layers: int = 4,
    heads: int = 4,
    projection: int = 64,
    text_hidden: int = 128,
    text_layers: int = 2,
    seed: int = 0,
) -> None:
    """Write a random ``CLIPModel`` with its processor to ``folder``.

    ``words`` is the vocabulary (words or whole sentences, any case, duplicates allowed); images are squares
    of ``image_size`` pixels in patches of ``patch_size``; ``projection`` is the width of the joint space. The
    weights depend on ``seed`` and the sizes alone.
    """
    vocabulary = _vocabulary(words)
    common = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    config = CLIPConfig(
        text_config=CLIPTextConfig(
            vocab_size=len(vocabulary),
            hidden_size=text_hidden,
            intermediate_size=3 * text_hidden,
            num_hidden_layers=text_layers,
            num_attention_heads=heads,
            projection_dim=projection,
            **common,
        ).to_dict(),
        vision_config=CLIPVisionConfig(
            hidden_size=hidden,
            intermediate_size=3 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            image_size=image_size,
            patch_size=patch_size,
            projection_dim=projection,
        ).to_dict(),
        projection_dim=projection,
        **common,
    )
    model = _random(CLIPModel, config, seed)
    tokenizer = _tokenizer(vocabulary, config.text_config.max_position_embeddings, ends=True)
    with quiet():
        model.save_pretrained(folder)
        CLIPProcessor(image_processor=_image_processor(image_size), tokenizer=tokenizer).save_pretrained(
            folder
        )


def new_generative(
    folder: str | Path,
    dual_folder: str | Path,
    words: Sequence[str],
    hidden: int = 128,
    layers: int = 4,
    heads: int = 4,
    seed: int = 0,
) -> None:
    """Write a ``LlavaForConditionalGeneration`` with its processor to ``folder``.

    Its vision tower is a copy of the one of the ``CLIPModel`` in ``dual_folder``, read after the last layer
    without the class token; the projector and the Llama language model (tied embeddings) are random, given by
    ``seed``.
    """
    with quiet():
        dual = CLIPModel.from_pretrained(dual_folder, use_safetensors=True, dtype=torch.float32)
    vision = dual.config.vision_config
    vocabulary = _vocabulary([*words, CAPTION, ANSWER])
    text = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
    )
    config = LlavaConfig(
        vision_config=vision.to_dict(),
        text_config=text.to_dict(),
        image_token_index=vocabulary[IMAGE],
        image_seq_length=(vision.image_size // vision.patch_size) ** 2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
    model = _random(LlavaForConditionalGeneration, config, seed)
    model.model.vision_tower.load_state_dict(dual.vision_model.state_dict())
    model.generation_config.pad_token_id, model.generation_config.bos_token_id = 0, 2
    model.generation_config.eos_token_id = 3
    processor = LlavaProcessor(
        image_processor=_image_processor(vision.image_size),
        tokenizer=_tokenizer(vocabulary, text.max_position_embeddings, ends=False),
        patch_size=vision.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token=IMAGE,
        chat_template=CHAT_TEMPLATE,
    )
    with quiet():
        model.save_pretrained(folder)
        processor.save_pretrained(folder)


def _random(family: Any, config: Any, seed: int) -> Any:
    """A fresh model whose weights are given by ``seed``; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return family(config)


def _vocabulary(words: Iterable[str]) -> dict[str, int]:
    """Special tokens first, then the distinct words in order of appearance."""
    split, lower = _splitter(), normalizers.Lowercase()
    pieces = (split.pre_tokenize_str(lower.normalize_str(text)) for text in words)
    known = dict.fromkeys(chain(SPECIAL, (piece for text in pieces for piece, _ in text)))
    return {word: index for index, word in enumerate(known)}


def _splitter() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(WORD), behavior="removed", invert=True)


def _tokenizer(vocabulary: dict[str, int], positions: int, ends: bool) -> PreTrainedTokenizerFast:
    """Lower-cased whole words. ``ends``: frame every text by <bos> and <eos>, as CLIP pools at <eos>."""
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = _splitter()
    if ends:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{BOS} $A {EOS}", special_tokens=[(BOS, vocabulary[BOS]), (EOS, vocabulary[EOS])]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNK,
        bos_token=BOS,
        eos_token=EOS,
        additional_special_tokens=[IMAGE],
        model_max_length=positions,
        clean_up_tokenization_spaces=False,
    )


def _image_processor(size: int) -> CLIPImageProcessorPil:
    """Resize to the square without cropping: nothing of the picture is lost."""
    square = {"height": size, "width": size}
    return CLIPImageProcessorPil(size=square, crop_size=square, do_center_crop=False)
