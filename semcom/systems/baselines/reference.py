"""Reference rows without a radio: what the receiver's model can do at best, and without anything."""

from __future__ import annotations

from collections.abc import Sequence

from semcom.systems.base import Size, System, register
from semcom.types import Budget, Image, Message, Query, Reception, Recovered


class Reference(System):
    """Nothing is sent, and nothing received; :meth:`given` says what the receiver holds all the same."""

    def transmit(
        self, images: Sequence[Image], budget: Budget, queries: Sequence[Query] | None = None
    ) -> list[Message]:
        """See :class:`System`."""
        return [Message() for _ in images]

    def recover(self, reception: Reception, size: Size, query: Query | None) -> Recovered:
        """See :class:`System`."""
        return Recovered()

    def given(self, images: Sequence[Image]) -> list[Recovered]:
        """What the receiver holds for each image."""
        return [Recovered() for _ in images]


@register("ceiling", family="baselines", paper="reference row", sends="nothing (no radio)", reference=True)
class Ceiling(Reference):
    """The receiver's model on the original image. Over the air: nothing, the image is given."""

    carries = "image"

    def given(self, images: Sequence[Image]) -> list[Recovered]:
        """The images themselves."""
        return [Recovered(image=image) for image in images]


@register("blind", family="baselines", paper="reference row", sends="nothing (no radio)", reference=True)
class Blind(Reference):
    """The receiver's model without any image: the score of an outage. Over the air: nothing."""

    carries = "nothing"
