"""Compressed domain: the receiver's model reads a picture codec's coefficients and never decodes pixels."""
