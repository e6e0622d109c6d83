"""Separators that others have published: their checkpoints become models of the user's own folder."""
