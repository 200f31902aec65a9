"""Systems: a transmitter and its receiver each, one file a system, one folder a family.

>>> from semcom import systems
>>> systems.create("jpeg", headers="full").carries
'image'
"""

from __future__ import annotations

from typing import Any

from channels.errors import unknown
from semcom.systems.base import SYSTEMS, Decider, Models, System
from semcom.systems.baselines import decide, deep_jscc, learned_codec, pictures, reference
from semcom.systems.compressed_domain import rgb_no_more
from semcom.systems.latent_input import latent_input
from semcom.systems.semantic import caption_text, embedding, vlm_csc
from semcom.systems.split_computing import entropic_student
from semcom.systems.token_compression import divprune, fastv, tome, visionzip, visual_tokens
from semcom.systems.vlm_guided import taco

__all__ = ["SYSTEMS", "Decider", "Models", "System", "available", "create"]

_MODULES = (
    decide,
    deep_jscc,
    learned_codec,
    latent_input,
    pictures,
    reference,
    rgb_no_more,
    caption_text,
    embedding,
    vlm_csc,
    entropic_student,
    visual_tokens,
    divprune,
    fastv,
    tome,
    visionzip,
    taco,
)  # importing them registers


def available() -> list[str]:
    """The names of all systems."""
    return sorted(SYSTEMS)


def create(name: str, models: Models | None = None, /, **options: Any) -> System:
    """Make a system.

    :param name: one of :func:`available`.
    :param models: the vision-language models of both ends; the embedded ones when left out. Nothing is loaded
        before it is used.
    :param options: of that system; see ``SYSTEMS[name].options`` (its first parameter is ``models``).
    :raises InputError: unknown name, unknown option or impossible value.
    """
    entry = SYSTEMS.find(name)
    known = [option for option in entry.options if option != "models"]
    for option in options:
        if option not in known:
            raise unknown(f"option of system {name!r}:", option, known)
    return SYSTEMS.create(name, models, **options)
