"""Meaning instead of pixels: a caption, or an embedding."""
