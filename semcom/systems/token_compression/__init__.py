"""Visual tokens of the generative model, fewer of them, in fewer bits."""
