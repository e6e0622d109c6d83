"""unmingle: recordings in which people talk over each other go in; each voice comes out."""

__version__ = "0.1.0"
