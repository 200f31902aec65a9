"""Vision-language models of transformers behind two small interfaces.

>>> from semcom.vlm import load_dual_encoder, load_generative
>>> vlm = load_generative("embedded")  # doctest: +SKIP
>>> vlm.answer([Recovered(image=image)], ["what color is the circle ?"], [["red", "blue"]])  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semcom.vlm.load import load_dual_encoder, load_generative

__all__ = ["load_dual_encoder", "load_generative"]


def __getattr__(name: str) -> Any:
    """Import on first use: the interfaces in ``base`` need neither torch nor transformers."""
    if name in __all__:
        from semcom.vlm import load

        return getattr(load, name)
    raise AttributeError(f"module 'semcom.vlm' has no attribute {name!r}")
