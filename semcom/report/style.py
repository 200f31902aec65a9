"""How the figures look: one colour and marker per system, the same in every figure of a report.

Hues say what is sent: blue pictures, orange texts, pink embeddings, green visual tokens, grey answers. They
stay apart for colour-blind readers (Okabe & Ito, "Color Universal Design", 2008); markers tell systems apart
within a hue.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

if TYPE_CHECKING:
    from matplotlib.axes import Axes

P = ParamSpec("P")
T = TypeVar("T")

HUES: dict[str, tuple[str, ...]] = {
    "image": ("#0072B2", "#56B4E9", "#1B2A6B", "#7F8FE0", "#A9CCE8", "#5B4BB3", "#3F6F8F", "#00B3C4"),
    "text": ("#D55E00", "#F0A04B", "#8C3A00"),
    "embedding": ("#CC79A7", "#882255", "#E3A8C8"),
    "tokens": ("#009E73", "#8BBF3F", "#0B5D40", "#7FD1B5", "#B5A300", "#4F7F1F", "#5FBF5F", "#94A88A"),
    "answer": ("#666666", "#A0A0A0"),
}
MARKERS = "osD^vPX<>*phd8"
INK = "#222222"
FAINT = "#8A8A8A"
RIGHT, WRONG, LOST = "#00734F", "#B3261E", "#6E6E6E"  # a right answer, a wrong one, a guess without reception

_FONTS = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.0,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "hatch.linewidth": 1.2,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
}


@dataclass(frozen=True)
class Look:
    """Colour, marker and line style of one system."""

    colour: str
    marker: str = ""
    line: str = "-"


CEILING = Look(INK, line="--")
BLIND = Look(INK, line=":")


def looks(kinds: Mapping[str, str]) -> dict[str, Look]:
    """A look for each system; ``kinds``: label -> what it carries (:data:`semcom.types.KINDS`), in order."""
    used: Counter[str] = Counter()
    result = {}
    for index, (label, kind) in enumerate(kinds.items()):
        hues = HUES.get(kind, HUES["answer"])
        colour = hues[used[kind] % len(hues)]
        used[kind] += 1
        result[label] = Look(colour, MARKERS[index % len(MARKERS)], "--" if kind == "answer" else "-")
    return result


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Run a drawing function under the report's fonts and restore matplotlib's settings afterwards."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        import matplotlib

        with matplotlib.rc_context(cast(Any, _FONTS)):
            return draw(*args, **kwargs)

    return wrapper


def plain(axes: Axes) -> None:
    """Light frame and grid. Sizes are set here: matplotlib makes ticks late, outside :func:`styled`."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#E4E4E4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, length=3, color=FAINT, labelcolor=INK)


def lighten(colour: str, amount: float) -> tuple[float, float, float]:
    """``colour`` mixed with white; ``amount`` 0 keeps it, 1 gives white."""
    from matplotlib.colors import to_rgb

    red, green, blue = ((1 - amount) * part + amount for part in to_rgb(colour))
    return red, green, blue


def ink_on(colour: str | tuple[float, float, float]) -> str:
    """Black or white, whichever reads better on ``colour`` (WCAG 2 relative luminance)."""
    from matplotlib.colors import to_rgb

    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "white" if luminance < 0.18 else INK
