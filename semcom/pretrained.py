"""Weight folders of learned systems and codecs: ``config.json``, ``model.safetensors`` and a card.

Networks of vision-language models are read by transformers; this is for our own small modules.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from channels.errors import InputError

WEIGHTS = Path(__file__).parent / "weights"
M = TypeVar("M", bound=torch.nn.Module)


def save(folder: Path, module: torch.nn.Module, config: dict[str, Any]) -> None:
    """Write ``module`` with its ``config``: floating-point weights as float16, integers as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: (value.half() if value.is_floating_point() else value).detach().cpu().contiguous()
        for name, value in module.state_dict().items()
    }
    path = folder / "model.safetensors"
    temporary = path.with_suffix(".tmp")
    save_file(tensors, temporary, {"format": "pt"})
    temporary.chmod(0o644)
    temporary.replace(path)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def load(source: str | Path, make: Callable[[dict[str, Any]], M]) -> M:
    """The module in a folder, float32, in evaluation mode, without gradients.

    :param source: the name of a shipped folder (``semcom/weights/NAME``) or a path
    :param make: an untrained module from the contents of ``config.json``
    :raises InputError: nothing there, or not what ``make`` makes
    """
    folder = WEIGHTS / source if isinstance(source, str) and "/" not in source else Path(source)
    try:
        config = json.loads((folder / "config.json").read_text())
        state = load_file(folder / "model.safetensors")
        module = make(config)
        module.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    except InputError:  # of ``make``, which knows better what is wrong
        raise
    except OSError as error:
        raise InputError(
            f"weights: {str(source)!r} has no {Path(error.filename or '').name or 'weights'}; "
            f"`semcom train NAME --out FOLDER` makes such a folder"
        ) from error
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise InputError(f"weights: {str(folder)!r} does not hold what is expected ({error})") from error
    return module.eval().requires_grad_(False)
