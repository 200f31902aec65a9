"""Arithmetic coding on exact integers: equal on every machine, and without the slack of word-aligned coders.

A message is a sub-interval of [0, 1) (Rissanen 1976; Witten, Neal & Cleary, CACM 1987). Its code is the
shortest string of whole bytes B for which every number that begins with B lies inside. A code cut off after
any byte thus still determines a prefix of the message, which is what the decoder returns: no symbol that it
gives is a guess.
"""

from __future__ import annotations

_TOP = 62  # bits of the working width; totals stay below 2^26, so rounding costs under 2^-20 bits a symbol
_STEP = 16


class Interval:
    """The interval [low, low + width) / 2^shift that the symbols so far leave."""

    def __init__(self) -> None:
        self._low, self._width, self._shift = 0, 1 << _TOP, _TOP

    def narrow(self, start: int, count: int, total: int) -> None:
        """Keep the part [start, start + count) of ``total``; ``0 < count <= total < 2^26``."""
        unit = self._width // total
        self._low += unit * start
        self._width = self._width - unit * start if start + count == total else unit * count
        while self._width < 1 << (_TOP - _STEP):
            self._low, self._width, self._shift = (
                self._low << _STEP,
                self._width << _STEP,
                self._shift + _STEP,
            )

    def code(self) -> bytes:
        """The shortest bytes whose every continuation lies in the interval."""
        length = max(0, self._shift - self._width.bit_length()) // 8
        while True:
            excess = self._shift - 8 * length
            first = -(-self._low >> excess) if excess > 0 else self._low << -excess
            if first < 1 << (8 * length) and self.holds(first, length):
                return first.to_bytes(length, "big")
            length += 1

    def holds(self, number: int, length: int) -> bool:
        """Whether every number that begins with these ``length`` bytes lies in the interval."""
        excess = self._shift - 8 * length
        low, width = (
            (self._low, self._width) if excess >= 0 else (self._low << -excess, self._width << -excess)
        )
        block = number << max(excess, 0)
        return low <= block and block + (1 << max(excess, 0)) <= low + width

    def locate(self, number: int, length: int, total: int) -> int:
        """Which of ``total`` parts holds the number that these bytes begin; it must lie in the interval."""
        excess = self._shift - 8 * length
        point = number << excess if excess >= 0 else number >> -excess
        return min(max(point - self._low, 0) // (self._width // total), total - 1)
