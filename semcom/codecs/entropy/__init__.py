"""Entropy models of quantised latents, and their range coding.

Training minimises the models' ``bits``; ``freeze`` turns them into tables of whole numbers, which are stored
with the weights, so that coder and decoder agree on every machine.
"""

from semcom.codecs.entropy.coder import Tables
from semcom.codecs.entropy.exact import Exact
from semcom.codecs.entropy.factorised import Factorised
from semcom.codecs.entropy.gaussian import Gaussian
from semcom.codecs.entropy.rounding import noisy, rounded

__all__ = ["Exact", "Factorised", "Gaussian", "Tables", "noisy", "rounded"]
