"""Other projects' Fast-SCNN checkpoints, recognised, renamed and checked."""

from .importer import import_checkpoint

__all__ = ["import_checkpoint"]
