"""Training: a recipe in YAML becomes weights. `fastscnn-train` is its command."""

from .recipe import Recipe
from .trainer import Trainer

__all__ = ["Recipe", "Trainer"]
