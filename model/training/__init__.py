"""Training: a recipe in YAML becomes weights. `fastscnn-train` is its command."""

from .recipe import Recipe

__all__ = ["Recipe"]
