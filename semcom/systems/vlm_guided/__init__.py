"""Guided by a vision-language model: what it says of the image decides where a picture codec spends its bits."""
