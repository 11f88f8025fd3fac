"""Pyramid MoA: a crowd of cheap models, and an oracle asked only where that is worth its cost."""

__version__ = "0.1.0"
