"""Mixtures, the mixer that draws them, and the corpora that it draws from."""
