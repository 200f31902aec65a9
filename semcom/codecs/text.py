"""Captions to a few bytes and back, under a word model that both ends hold."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from channels.errors import InputError
from semcom.codecs.interval import Interval
from semcom.codecs.ngram import END, NGram

ESCAPE = 1  # the word symbol that announces a word spelt in bytes
LIMIT = 2048  # symbols (words, and bytes of spelt words) that a coded text may have
SHIPPED = Path(__file__).parent.parent / "weights" / "caption-model"
_FILE = "model.json"
_FORMAT = "semcom caption model 1"


def normalise(text: str) -> str:
    """The form in which a text is sent: one space between words; ``?`` for what UTF-8 cannot write."""
    return " ".join(text.encode("utf-8", "replace").decode().split())


class CaptionModel:
    """An n-gram model of captions with an exact arithmetic coder.

    Every text can be coded: a word outside the vocabulary is an escape symbol and its UTF-8 bytes. Decoding
    takes at most :data:`LIMIT` symbols whatever the bytes are.

    :param words: the vocabulary.
    :param word_model: over END, ESCAPE and the words in their order.
    :param byte_model: over END and the 256 byte values (plus 1).
    """

    def __init__(self, words: Iterable[str], word_model: NGram, byte_model: NGram) -> None:
        self.words = list(words)
        self._symbol = {word: i + 2 for i, word in enumerate(self.words)}
        self._word_model, self._byte_model = word_model, byte_model

    @classmethod
    def fit(cls, texts: Iterable[str], order: int = 3, minimum: int = 1) -> CaptionModel:
        """Learn from ``texts``.

        :param order: length of the word n-grams.
        :param minimum: a word that is seen less often is left out of the vocabulary.
        """
        if not 1 <= order <= 8:
            raise InputError(f"order: {order} is not a whole number from 1 to 8")
        sentences = [normalise(text).split(" ") if text.strip() else [] for text in texts]
        seen = Counter(word for sentence in sentences for word in sentence)
        words = sorted(word for word, count in seen.items() if count >= minimum)
        if not words:
            raise InputError(f"texts: no word occurs {minimum} times; there is nothing to learn from")
        symbol = {word: i + 2 for i, word in enumerate(words)}
        sequences = [[symbol.get(word, ESCAPE) for word in sentence] for sentence in sentences]
        word_model = NGram.fit(sequences, len(words) + 2, order)
        byte_model = NGram.fit(([b + 1 for b in word.encode()] for word in sorted(seen)), 257, 3)
        return cls(words, word_model, byte_model)

    def save(self, folder: str | Path) -> Path:
        """Write ``model.json`` into ``folder``; equal models give equal files."""
        path = Path(folder) / _FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        tables = {"words": self._word_model.to_json(), "bytes": self._byte_model.to_json()}
        content = {"format": _FORMAT, "vocabulary": self.words, **tables}
        path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n", "utf-8")
        return path

    @classmethod
    def load(cls, folder: str | Path = SHIPPED) -> CaptionModel:
        """Read what :meth:`save` wrote; without a folder, the shipped model."""
        path = Path(folder) / _FILE
        try:
            raw: Any = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"caption model {str(path)!r}: cannot be read ({error})") from error
        if not isinstance(raw, dict) or raw.get("format") != _FORMAT:
            raise InputError(f"caption model {str(path)!r}: is not in the format {_FORMAT!r}")
        words: Any = raw.get("vocabulary")
        valid = isinstance(words, list) and all(
            isinstance(w, str) and [w] == normalise(w).split() for w in words
        )
        if not valid or len(set(words)) != len(words) or not 1 <= len(words) <= 1 << 20:
            raise InputError(f"caption model {str(path)!r}: the vocabulary is not a list of distinct words")
        try:
            tables = NGram.from_json(raw.get("words"), len(words) + 2), NGram.from_json(raw.get("bytes"), 257)
        except InputError as error:
            raise InputError(f"caption model {str(path)!r}: {error}") from error
        return cls(words, *tables)

    def _symbols(self, text: str) -> Iterator[list[tuple[NGram, int]]]:
        """The symbols of each word, each with its model; the end last. Whole words within the limit."""
        left = LIMIT - 1
        for word in normalise(text).split():
            symbol = self._symbol.get(word)
            if symbol is not None:
                group = [(self._word_model, symbol)]
            else:
                spelt = [(self._byte_model, b + 1) for b in word.encode()]
                group = [(self._word_model, ESCAPE), *spelt, (self._byte_model, END)]
            left -= len(group)
            if left < 0:
                break
            yield group
        yield [(self._word_model, END)]

    def _walk(self, text: str) -> tuple[Interval, float]:
        """The interval of a text and its ideal code length in bits."""
        interval, bits = Interval(), 0.0
        context = self._word_model.begin()
        for group in self._symbols(text):
            spelling = self._byte_model.begin()
            for model, symbol in group:
                if model is self._word_model:
                    bits -= math.log2(model.narrow(interval, context, symbol))
                    context = model.extend(context, symbol)
                else:
                    bits -= math.log2(model.narrow(interval, spelling, symbol))
                    spelling = model.extend(spelling, symbol)
        return interval, bits

    def bits(self, text: str) -> float:
        """The text's information content under the model, -log2 P, in bits."""
        return self._walk(text)[1]

    def encode(self, text: str) -> bytes:
        """Code a text (see :func:`normalise`) in at most ``bits(text) + 2`` bits, rounded up to bytes.

        The first bytes alone decode to the words that they determine. A text of more than :data:`LIMIT`
        symbols is cut after the last whole word within the limit.
        """
        return self._walk(text)[0].code()

    def decode(self, data: bytes) -> str | None:
        """The text, or its first words when the code was cut off; None when no word is determined."""
        interval, context = Interval(), self._word_model.begin()
        number, length = int.from_bytes(data, "big"), len(data)
        words: list[str] = []
        spelt: bytearray | None = None  # the word being spelt
        spelling = self._byte_model.begin()
        for _ in range(LIMIT):
            model, here = (self._word_model, context) if spelt is None else (self._byte_model, spelling)
            symbol = model.locate(interval, here, number, length)
            model.narrow(interval, here, symbol)
            if not interval.holds(number, length):
                break
            if spelt is None:
                if symbol == END:
                    return normalise(" ".join(words))
                context = model.extend(context, symbol)
                if symbol == ESCAPE:
                    spelt, spelling = bytearray(), self._byte_model.begin()
                else:
                    words.append(self.words[symbol - 2])
            elif symbol == END:
                words.append(spelt.decode("utf-8", "replace"))
                spelt = None
            else:
                spelt.append(symbol - 1)
                spelling = model.extend(spelling, symbol)
        return normalise(" ".join(words)) or None
