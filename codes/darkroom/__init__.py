"""Darkroom trains image models from option files. Nothing heavy is imported here."""

__version__ = "0.1.0"
