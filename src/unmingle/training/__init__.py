"""Recipe, trainer, evaluation and export."""
