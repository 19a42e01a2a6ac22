"""Floor 0: numerical kernels and counter-based randomness. Imports nothing else of elegans."""
