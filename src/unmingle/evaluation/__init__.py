"""Measuring and comparing separators."""
