"""The version, in a module of its own: nobody imports the package's root for it."""

__version__ = "0.2.0"
