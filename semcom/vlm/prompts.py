"""The few fixed words that are put to a generative model."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

CAPTION = "describe the image ."


def in_context(text: str, question: str) -> str:
    """The question, asked of a received text in place of an image."""
    return f"{text} {question}"


def chat(text: str, image: bool) -> list[dict[str, Any]]:
    """One user turn as ``processor.apply_chat_template`` takes it: an image (or none), then the text."""
    picture = [{"type": "image"}] if image else []
    return [{"role": "user", "content": [*picture, {"type": "text", "text": text}]}]


def without(text: str, special: Iterable[str]) -> str:
    """``text`` with every special token in it, in any case, replaced by a space.

    Questions come from data files and texts from the air: neither may open an image slot or end the turn.
    """
    words = sorted((word for word in special if word.strip()), key=len, reverse=True)
    if not words:
        return text
    pattern = re.compile("|".join(map(re.escape, words)), re.IGNORECASE)
    while pattern.search(text):  # a removal may join what stood around it when a token contains a space
        text = pattern.sub(" ", text)
    return text
