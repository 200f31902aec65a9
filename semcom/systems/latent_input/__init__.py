"""Systems whose receiver feeds a codec's latents to its vision-language model, without decoding an image."""
