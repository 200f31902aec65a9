"""A sentence as analog symbols: the text codec of VLM-CSC (Jiang et al., IEEE TWC 2025, arXiv 2407.00020)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

PAD, UNKNOWN = 0, 1  # word numbers before the vocabulary: nothing (also the end), a word that is not in it
SPECIAL = 2


class Vocabulary:
    """Sentences to word numbers and back.

    :param words: the known ones, distinct, in the order of their numbers.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self._number = {word: i + SPECIAL for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        """How many numbers there are, the special ones included."""
        return len(self.words) + SPECIAL

    def ids(self, text: str, length: int) -> list[int]:
        """The first ``length`` words as numbers, padded to ``length``."""
        numbers = [self._number.get(word, UNKNOWN) for word in split(text)[:length]]
        return numbers + [PAD] * (length - len(numbers))

    def text(self, ids: Iterable[int]) -> str:
        """The words before the first PAD; unknown ones are left out."""
        said = []
        for number in ids:
            if number == PAD:
                break
            if number != UNKNOWN:
                said.append(self.words[number - SPECIAL])
        return " ".join(said)


def split(text: str) -> list[str]:
    """The words and punctuation marks of a text, in lower case."""
    return re.findall(r"[\w'-]+|[^\w\s]", text.lower())


class NoiseAttention(nn.Module):
    """Noise attention module (NAM): scale features by a gate that sees them and the SNR.   [eqs 17-21]

    .. math:: A = K \\odot G, \\quad K = 2\\,\\sigma(e \\odot v), \\quad e = W_4 G + b_4,
        \\quad v = \\sigma(W_3 v' + b_3)

    v' comes from the SNR through two layers of 56 and 128 neurons. Two departures: printed, e and v have 56
    elements while G has more, so here both have G's width; and the printed gate, without the factor 2, is
    about 1/2 in every module of a fresh network, which slows training down. W_4 and b_4 begin as 0, so that a
    fresh module is the identity.

    :param width: of the features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.level = nn.Sequential(
            nn.Linear(1, 56), nn.ReLU(), nn.Linear(56, 128), nn.ReLU(), nn.Linear(128, width), nn.Sigmoid()
        )
        self.feature = nn.Linear(width, width)
        nn.init.zeros_(self.feature.weight)
        nn.init.zeros_(self.feature.bias)

    def forward(self, features: Tensor, snr_db: Tensor) -> Tensor:
        """Gate ``features`` [batch, n, width] by ``snr_db`` [batch, n], or [batch, 1] for all n alike."""
        level = self.level((snr_db.unsqueeze(-1) - 5) / 10)
        return features * 2 * torch.sigmoid(self.feature(features) * level)


class Stack(nn.Module):
    """Layers, each followed by its noise attention module (or by none, in the control of the experiments)."""

    def __init__(self, layers: Iterable[nn.Module], widths: Sequence[int], attention: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.gates = nn.ModuleList([NoiseAttention(width) for width in widths] if attention else [])

    def forward(self, features: Tensor, snr_db: Tensor) -> Tensor:
        """[batch, n, d] to [batch, n, d']; ``snr_db`` as for :class:`NoiseAttention`."""
        for i, layer in enumerate(self.layers):
            features = layer(features)
            if self.gates:
                features = self.gates[i](features, snr_db)
        return features


class TextJSCC(nn.Module):
    """Word numbers to complex symbols and back, all positions at once.   [sec. III, fig. 2]

        words -> embedding -> semantic encoder -> channel encoder -> symbols, mean power 1
        words <- argmax    <- semantic decoder <- channel decoder <- symbols / (1 + noise)

    Semantic coders are transformers, channel coders position-wise layers; a NAM follows every layer. A message
    always takes ``length * symbols`` channel uses: the positions after the end of a short sentence are
    not masked, so they carry redundancy for the words before. The decoder sees no word of the
    sentence, neither the true ones nor its own.

    :param words: the vocabulary.
    :param length: most words of a sentence; what is longer loses its end.
    :param symbols: complex symbols for each word.
    :param width: of the features; :param layers: of each transformer; :param heads: of its attention.
    :param attention: with noise attention modules; without them nothing knows the SNR.
    """

    def __init__(
        self,
        words: Sequence[str],
        length: int = 40,
        symbols: int = 1,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        attention: bool = True,
    ) -> None:
        super().__init__()
        self.vocabulary, self.length, self.symbols = Vocabulary(words), length, symbols
        self.embedding = nn.Embedding(len(self.vocabulary), width)
        self.places = nn.Parameter(torch.randn(2, length, width) * 0.02)  # positions at either end
        self.semantic_encoder = Stack(_transformer(width, heads, layers), [width] * layers, attention)
        self.channel_encoder = Stack(_dense(width, 2 * width, width), [2 * width, width], attention)
        self.out = nn.Linear(width, 2 * symbols)
        self.channel_decoder = Stack(_dense(2 * symbols, width, 2 * width), [width, 2 * width], attention)
        self.narrow = nn.Linear(2 * width, width)
        self.semantic_decoder = Stack(_transformer(width, heads, layers), [width] * layers, attention)
        self.read = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(self.vocabulary)))

    def meaning(self, ids: Tensor, snr_db: Tensor) -> Tensor:
        """Features of the semantic encoder, [batch, length, width]."""
        x = self.embedding(ids) + self.places[0]
        features: Tensor = self.semantic_encoder(x, snr_db)
        return features

    def encode(self, ids: Tensor, snr_db: Tensor) -> Tensor:
        """Symbols of sentences.

        :param ids: [batch, length] int64, padded with PAD.
        :param snr_db: [batch, 1], the SNR that the transmitter expects.
        :returns: [batch, length * symbols] complex64, each row with mean power 1.
        """
        features = self.channel_encoder(self.meaning(ids, snr_db), snr_db)
        x = torch.view_as_complex(self.out(features).float().reshape(len(ids), -1, 2).contiguous())
        power = (x.real.square() + x.imag.square()).mean(1, keepdim=True)
        return x / power.clamp_min(1e-12).sqrt()

    def decode(self, received: Tensor, noise_var: Tensor) -> Tensor:
        """Logits of the words, [batch, length, numbers of the vocabulary].

        The noise attention modules see the SNR of each word's symbols, which the receiver knows; the paper
        gives them one SNR for all. It is cut off at -20 and 30 dB, far beyond what training sees.

        :param received: [batch, length * symbols] complex64, sent symbols plus noise.
        :param noise_var: [batch, length * symbols], variance of that noise.
        """
        estimate = torch.view_as_real(received / (1 + noise_var)) * math.sqrt(2)
        x = estimate.reshape(len(received), self.length, 2 * self.symbols)
        noise = noise_var.reshape(len(received), self.length, self.symbols).mean(2)
        snr_db = -10 * torch.log10(noise.clamp(1e-3, 1e2))
        x = self.narrow(self.channel_decoder(x, snr_db)) + self.places[1]
        logits: Tensor = self.read(self.semantic_decoder(x, snr_db))
        return logits


def _transformer(width: int, heads: int, layers: int) -> list[nn.Module]:
    return [
        nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        for _ in range(layers)
    ]


def _dense(first: int, hidden: int, last: int) -> list[nn.Module]:
    return [
        nn.Sequential(nn.Linear(first, hidden), nn.ReLU()),
        nn.Sequential(nn.Linear(hidden, last), nn.ReLU()),
    ]
