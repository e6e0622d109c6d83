"""Files to samples and back."""
