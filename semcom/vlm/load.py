"""``embedded``, a local folder or a hub id: one way in, through ``from_pretrained``."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np
import torch

from channels.errors import InputError
from semcom.vlm.base import Array
from semcom.vlm.dual import TransformersDualEncoder
from semcom.vlm.generative import Generative
from semcom.vlm.llava import Llava
from semcom.vlm.other import ImageTextModel
from semcom.vlm.quiet import quiet

EMBEDDED = "embedded"
TOKEN_STATS = "token_stats.safetensors"
TOWERS = {"clip_vision_model", "siglip_vision_model"}  # vision towers that give one grid of tokens


def load_dual_encoder(name: str, device: str = "cpu") -> TransformersDualEncoder:
    """A CLIP or SigLIP model, computing in float32.

    :param name: ``"embedded"``, a folder written by ``save_pretrained``, or a hub id such as
        ``"openai/clip-vit-base-patch32"``
    :param device: a torch device, ``"cpu"`` or ``"cuda"``
    :raises InputError: it cannot be found, is broken, or is of another family

    The same arguments give the same object, until the files in the folder change.
    """
    source = _source(name, "dual-encoder")
    return _dual_encoder(name, source, _device(device), _stamp(source))


def load_generative(name: str, device: str = "cpu") -> Generative:
    """A LLaVA model, or any other image-text-to-text model of transformers (which then has no visual tokens).

    Arguments and errors as for :func:`load_dual_encoder`; a hub id is for example
    ``"llava-hf/llava-1.5-7b-hf"``.
    """
    source = _source(name, "generative")
    return _generative(name, source, _device(device), _stamp(source))


def fingerprint(name: str, folder: str) -> str:
    """Content hash of the files of a model, or its commit on the hub, without loading it.

    :param name: as for :func:`load_dual_encoder`
    :param folder: which of the shipped models "embedded" is: ``"dual-encoder"`` or ``"generative"``
    """
    source = _source(name, folder)
    return _fingerprint_of(source, _stamp(source))


@lru_cache(maxsize=8)
def _fingerprint_of(source: str, stamp: Any) -> str:
    return _fingerprint(source)


@lru_cache(maxsize=8)
def _dual_encoder(name: str, source: str, device: str, stamp: Any) -> TransformersDualEncoder:
    from transformers import AutoModel

    def suits(config: Any) -> bool:
        family = AutoModel._model_mapping.get(type(config), None)
        return hasattr(family, "get_image_features") and hasattr(family, "get_text_features")

    model, processor = _pretrained(name, source, AutoModel, suits, "a dual encoder (CLIP, SigLIP)")
    with quiet(), _explained(name, source):
        return TransformersDualEncoder(model.to(device), processor, name, _fingerprint(source))


@lru_cache(maxsize=8)
def _generative(name: str, source: str, device: str, stamp: Any) -> Generative:
    from transformers import AutoModelForImageTextToText

    def suits(config: Any) -> bool:
        return type(config) in AutoModelForImageTextToText._model_mapping

    wanted = "an image-text-to-text model (LLaVA, SmolVLM, ...)"
    model, processor = _pretrained(name, source, AutoModelForImageTextToText, suits, wanted)
    mark = _fingerprint(source)
    with quiet(), _explained(name, source):
        config = model.config
        if config.model_type == "llava" and config.vision_config.model_type in TOWERS:
            width = int(model.model.multi_modal_projector.linear_1.in_features)
            return Llava(model.to(device), processor, name, mark, *_token_stats(Path(source), width))
        return ImageTextModel(model.to(device), processor, name, mark)


def _pretrained(
    name: str, source: str, auto: Any, suits: Callable[[Any], bool], wanted: str
) -> tuple[Any, Any]:
    """Model (evaluation mode, float32, all weights present) and processor."""
    from transformers import AutoConfig, AutoProcessor

    with quiet(), _explained(name, source):
        # remote code never runs; without a network the hub's client would retry for half a minute for each
        # file
        where = {
            "trust_remote_code": False,
            "local_files_only": Path(source).is_dir() or not hub_reachable(),
        }
        config = AutoConfig.from_pretrained(source, **where)
        if not suits(config):
            raise InputError(f"vlm {name!r} is a {config.model_type!r} model; {wanted} is needed here.")
        model, report = auto.from_pretrained(
            source,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            **where,
        )
        if report["missing_keys"]:
            missing = sorted(report["missing_keys"])
            raise InputError(
                f"vlm {name!r} is incomplete: {len(missing)} weights are missing, {missing[0]!r} first."
            )
        processor = AutoProcessor.from_pretrained(source, **where)
        for part in ("tokenizer", "image_processor"):
            if getattr(processor, part, None) is None:
                raise InputError(
                    f"vlm {name!r} comes without {part.replace('_', ' ')}: its processor files are missing."
                )
    return model.eval().requires_grad_(False), processor


class _explained:
    """Turns whatever goes wrong while a model is read into one :class:`InputError` that says what to do."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.folder = name, Path(source).is_dir()

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        # anything at all may be raised by broken files, down to the safetensors reader's own exceptions
        if not isinstance(error, Exception) or isinstance(error, InputError):
            return
        cause = " ".join(str(error).split()).split(". ")[0][:200].rstrip(".") or type(error).__name__
        if self.folder:
            raise InputError(
                f"vlm {self.name!r} cannot be read: {cause}. The folder must hold config.json, complete "
                "*.safetensors, and tokenizer and processor files, as save_pretrained writes them."
            ) from error
        raise InputError(
            f"vlm {self.name!r} is neither a local folder nor a model that can be reached on the Hugging Face "
            f"hub ({cause}). Download it where there is a network with `hf download {self.name}`, and point "
            "HF_HOME at that cache or give the folder's path; or use 'embedded', which needs no download."
        ) from error


def _source(name: str, folder: str) -> str:
    """What ``from_pretrained`` is given: a folder or a hub id."""
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"vlm must be 'embedded', a folder or a hub id, not {name!r}.")
    if name == EMBEDDED:
        path = Path(str(files("semcom").joinpath("weights", folder)))
        if not (path / "config.json").is_file():
            raise InputError(
                f"the embedded weights are not installed ({path}); make them with `semcom train {folder}`."
            )
        return str(path)
    path = Path(name).expanduser()
    if path.is_dir():
        return str(path.resolve())
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1 or "\\" in name:
        raise InputError(
            f"vlm {name!r} is not a folder; give 'embedded', an existing folder or a hub id (owner/name)."
        )
    return name


def hub_reachable() -> bool:
    """Whether asking the hub is worth while; only its cache is searched otherwise."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if getproxies():  # a direct connection says nothing about the way through a proxy
        return True
    address = urlsplit(constants.ENDPOINT)
    try:
        with socket.create_connection((address.hostname, address.port or 443), timeout=3):
            return True
    except OSError:
        return False


def _device(device: str) -> str:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"device {device!r} cannot be used: {reason}. 'cpu' always works.") from error
    return str(device)


def _contents(folder: Path) -> list[Path]:
    """The files of a folder that decide what its model computes."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix in {".safetensors", ".json", ".jinja", ".model", ".txt"} and path.name != "card.json"
    )


def _stamp(source: str) -> tuple[tuple[str, int, int], ...]:
    """Changes when a file in the folder changes."""
    if not (folder := Path(source)).is_dir():
        return ()
    return tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in _contents(folder))


def _fingerprint(source: str) -> str:
    """BLAKE2b of the folder's files (name, size, bytes), or the hub's commit."""
    from huggingface_hub import try_to_load_from_cache

    if not (folder := Path(source)).is_dir():
        config = try_to_load_from_cache(source, "config.json")  # .../snapshots/<commit>/config.json
        return f"{source}@{Path(config).parent.name}" if isinstance(config, str) else source
    digest = hashlib.blake2b(digest_size=16)
    for path in _contents(folder):
        digest.update(f"{path.name}:{path.stat().st_size}:".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _token_stats(folder: Path, width: int) -> tuple[Array | None, Array | None]:
    """Mean and scale of the visual tokens where the folder has them."""
    if not (folder / TOKEN_STATS).is_file():
        return None, None
    from safetensors.numpy import load_file

    stats = load_file(folder / TOKEN_STATS)
    for key in ("mean", "scale"):
        if key not in stats or stats[key].shape != (width,) or not np.isfinite(stats[key]).all():
            raise InputError(f"{folder / TOKEN_STATS}: {key!r} must be {width} finite numbers.")
    if stats["scale"].min() <= 0:
        raise InputError(f"{folder / TOKEN_STATS}: every 'scale' must be above 0.")
    return stats["mean"].astype(np.float32), stats["scale"].astype(np.float32)
