"""The diffusion pipeline at VLM-CSC's receiver: a tiny Stable Diffusion, made here of the classes of the hub's."""

from __future__ import annotations

import json
import secrets
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from channels.errors import InputError
from semcom import systems
from semcom.systems.semantic import image_generator
from semcom.vlm import build, load
from semcom.vlm.quiet import quiet
from tests.fakes import FakeBudget, smooth_image
from tests.systems.common import perfect

diffusers = pytest.importorskip("diffusers")
WORDS = ["a red blue star circle at the top , and ."]


def pipeline(folder: Path, seed: int) -> Path:
    """Stable Diffusion of 8 x 8 latents and 16 x 16 pixels."""
    from transformers import CLIPTextConfig, CLIPTextModel

    vocabulary = build._vocabulary(WORDS)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPTextConfig(
        **sizes, vocab_size=len(vocabulary), max_position_embeddings=16, pad_token_id=0, eos_token_id=3
    )
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = diffusers.UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=4,
            norm_num_groups=4,
        )
        vae = diffusers.AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=4,
        )
        diffusers.StableDiffusionPipeline(
            vae=vae,
            text_encoder=CLIPTextModel(config),
            tokenizer=build._tokenizer(vocabulary, 16, ends=True),
            unet=unet,
            scheduler=diffusers.DDIMScheduler(clip_sample=False, steps_offset=1),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pipeline(tmp_path_factory.mktemp("diffusion"), secrets.randbelow(10**6))


def test_a_sentence_has_one_picture(folder: Path) -> None:
    draw = image_generator.load(str(folder), 2, 7.5, "cpu")
    assert isinstance(draw, image_generator.Diffusion)
    first, again, other = draw("a red star"), draw("a red star"), draw("a blue circle")
    assert first.shape == (16, 16, 3) and first.dtype == np.uint8
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    torch.manual_seed(secrets.randbelow(10**6))  # the global generator has no say
    assert np.array_equal(first, image_generator.load(str(folder), 2, 7.5, "cpu")("a red star"))


def test_it_draws_what_the_receiver_reads(folder: Path) -> None:
    system = systems.create("vlm-csc", generator=str(folder), steps=1, guidance=0.0)
    images = [smooth_image(np.random.default_rng(i)) for i in range(2)]
    messages = system.transmit(images, FakeBudget(40))
    got = system.receive([perfect(m) for m in messages], [(64, 64), (40, 48)])
    assert [r.image.shape for r in got if r.image is not None] == [(64, 64, 3), (40, 48, 3)]


def test_pickled_weights_and_foreign_code_are_refused(folder: Path, tmp_path: Path) -> None:
    bad = tmp_path / "pickled"
    shutil.copytree(folder, bad)
    weights = next((bad / "unet").glob("*.safetensors"))
    weights.rename(weights.with_name("diffusion_pytorch_model.bin"))
    with pytest.raises(InputError, match="neither 'embedded' nor"):
        image_generator.load(str(bad), 1, 0.0, "cpu")
    foreign = tmp_path / "foreign"
    shutil.copytree(folder, foreign)
    index = json.loads((foreign / "model_index.json").read_text())
    index["unet"] = ["my_code", "MyUNet"]
    (foreign / "model_index.json").write_text(json.dumps(index))
    (foreign / "unet" / "my_code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(InputError, match="neither 'embedded' nor"):
        image_generator.load(str(foreign), 1, 0.0, "cpu")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["nothing/here", "embeded", "/no/such/folder"])
def test_an_unknown_generator_is_explained(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "hub_reachable", lambda: False)
    with pytest.raises(InputError, match="generator"):
        image_generator.load(name, 1, 0.0, "cpu")
