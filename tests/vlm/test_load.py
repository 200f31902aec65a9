"""Every way in: folder, hub cache, embedded; and every way that it can be wrong."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.numpy import save_file
from transformers import CLIPModel, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from channels.errors import InputError
from semcom.vlm import load
from semcom.vlm.build import new_dual_encoder, new_generative
from semcom.vlm.load import load_dual_encoder, load_generative
from semcom.vlm.quiet import quiet
from tests.vlm import tiny


@pytest.fixture
def copy(folders: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders["llava"], tmp_path / "copy"))


def test_the_same_object_until_a_file_changes(copy: Path) -> None:
    first = load_generative(str(copy))
    assert load_generative(str(copy)) is first
    weights = copy / "model.safetensors"
    os.utime(weights, ns=(1, 1))
    touched = load_generative(str(copy))
    assert touched is not first and touched.fingerprint == first.fingerprint
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert load_generative(str(copy)).fingerprint != first.fingerprint


def test_token_stats(copy: Path) -> None:
    plain = load_generative(str(copy))
    assert (plain.token_mean == np.zeros(32)).all() and (plain.token_scale == np.ones(32)).all()
    mean, scale = np.arange(32, dtype=np.float32), np.full(32, 2, np.float32)
    save_file({"mean": mean, "scale": scale}, copy / "token_stats.safetensors")
    model = load_generative(str(copy))
    assert (model.token_mean == mean).all() and (model.token_scale == scale).all()
    assert model.fingerprint != plain.fingerprint
    for bad in ({"mean": mean}, {"mean": mean[:5], "scale": scale}, {"mean": mean, "scale": 0 * scale}):
        save_file(bad, copy / "token_stats.safetensors")
        with pytest.raises(InputError, match="token_stats"):
            load_generative(str(copy))


def test_half_precision_files_are_computed_in_float32(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["clip"], tmp_path / "half"))
    with quiet():
        CLIPModel.from_pretrained(folder).half().save_pretrained(folder)
    encoder = load_dual_encoder(str(folder))
    assert {p.dtype for p in encoder.model.parameters()} == {torch.float32} and not encoder.model.training
    truth = load_dual_encoder(str(folders["clip"])).embed_texts(["a red circle"])
    np.testing.assert_allclose(encoder.embed_texts(["a red circle"]), truth, atol=0.02)


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: (f / "config.json").write_text("{not json"),
        lambda f: (f / "config.json").write_text("{}"),
        lambda f: (f / "config.json").write_text(json.dumps({"model_type": "of-the-future"})),
        lambda f: (f / "config.json").unlink(),
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-100]),
        lambda f: (f / "model.safetensors").write_bytes(b""),
        lambda f: (f / "model.safetensors").unlink(),
        lambda f: (f / "tokenizer.json").write_text("[]"),
        lambda f: [p.unlink() for p in (*f.glob("tokenizer*"), *f.glob("processor*"))],
        lambda f: [p.unlink() for p in f.iterdir()],
        lambda f: save_file({"logit_scale": np.zeros((), np.float32)}, f / "model.safetensors"),
    ],
)
@pytest.mark.parametrize("family", ["clip", "llava"])
def test_broken_folders(damage: object, family: str, folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders[family], tmp_path / "broken"))
    damage(folder)  # type: ignore[operator]
    with pytest.raises(InputError, match="broken") as caught:
        (load_dual_encoder if family == "clip" else load_generative)(str(folder))
    assert len(str(caught.value)) < 700 and "\n" not in str(caught.value)


def test_the_other_family_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'llava' model; a dual encoder"):
        load_dual_encoder(str(folders["llava"]))
    with pytest.raises(InputError, match=r"'clip' model; an image-text-to-text"):
        load_generative(str(folders["clip"]))
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    with quiet():
        LlamaForCausalLM(LlamaConfig(vocab_size=9, bos_token_id=2, eos_token_id=3, **sizes)).save_pretrained(
            tmp_path
        )
    for loader in (load_dual_encoder, load_generative):
        with pytest.raises(InputError, match="'llama' model"):
            loader(str(tmp_path))


def test_remote_code_never_runs(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "evil.py").write_text("import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n")
    with pytest.raises(InputError):
        load_generative(str(copy))
    assert not (copy / "ran").exists()


@pytest.mark.parametrize("name", ["semcom-tests/no-such-model", "no-such-model", "not a valid id !"])
def test_unknown_hub_id_offline(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for loader in (load_dual_encoder, load_generative):
        with pytest.raises(InputError, match=r"HF_HOME.*'embedded'") as caught:
            loader(name)
        assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere-at-all", "a/b/c"])
def test_missing_folder(name: str) -> None:
    with pytest.raises(InputError, match="not a folder"):
        load_dual_encoder(name)


def test_hub_id_in_the_cache(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's cache layout, as `hf download` leaves it, is read without a network."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "models--someone--tiny-clip"
    shutil.copytree(folders["clip"], repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    encoder = load_dual_encoder("someone/tiny-clip")
    assert encoder.fingerprint == f"someone/tiny-clip@{commit}"
    truth = load_dual_encoder(str(folders["clip"])).embed_texts(["a red circle"])
    np.testing.assert_allclose(encoder.embed_texts(["a red circle"]), truth, atol=1e-6)


def test_devices(folders: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="device"):
        load_dual_encoder(str(folders["clip"]), device="abacus")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="'cpu' always works"):
            load_dual_encoder(str(folders["clip"]), device="cuda")


def test_embedded_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(load, "files", lambda package: tmp_path)
    with pytest.raises(InputError, match="semcom train dual-encoder"):
        load_dual_encoder("embedded")


def test_embedded_is_a_folder_in_the_package(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(folders["clip"], tmp_path / "weights" / "dual-encoder")
    shutil.copytree(folders["llava"], tmp_path / "weights" / "generative")
    monkeypatch.setattr(load, "files", lambda package: tmp_path)
    assert load_dual_encoder("embedded").name == load_generative("embedded").name == "embedded"


def test_loading_is_silent(copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    level = logging.get_verbosity()
    load_generative(str(copy)).caption([], max_new_tokens=1)
    new_dual_encoder(copy / "new", ["red"], hidden=8, heads=1, layers=1, text_hidden=8)
    assert capfd.readouterr() == ("", "") and logging.get_verbosity() == level


def test_new_models_depend_on_the_seed_alone(tmp_path: Path) -> None:
    small = {"hidden": 8, "layers": 1, "heads": 1}
    state = torch.random.get_rng_state()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        new_dual_encoder(
            tmp_path / name, ["Red circle", "red", "top-left."], seed=seed, text_hidden=8, **small
        )
        new_generative(tmp_path / f"{name}-gen", tmp_path / name, ["red"], seed=seed, **small)
    assert (torch.random.get_rng_state() == state).all()
    for suffix in ("", "-gen"):
        a, b, c = ((tmp_path / f"{name}{suffix}" / "model.safetensors").read_bytes() for name in "abc")
        assert a == b != c
    dual, model = load_dual_encoder(str(tmp_path / "a")), load_generative(str(tmp_path / "a-gen"))
    tower = dual.model.vision_model.state_dict()
    assert all(
        (value == tower[key]).all() for key, value in model.model.model.vision_tower.state_dict().items()
    )
    assert model.visual_tokens([np.zeros((64, 64, 3), np.uint8)])[0].shape == (64, 8)
    assert dual.processor.tokenizer.tokenize("A top-left, RED-ish circle.") == [
        "<unk>", "top-left", "<unk>", "<unk>", "circle", ".",
    ]  # fmt: skip


def test_answer_words_are_one_token_each(folders: dict[str, Path]) -> None:
    words = load_generative(str(folders["llava"])).words
    assert {len(words.candidate(word)) for word in [*tiny.PLACES, *tiny.COLORS]} == {1}
    assert len(words.candidate("small circle")) == 2
