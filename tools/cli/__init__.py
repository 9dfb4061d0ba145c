"""cli: the command line `colonnade`, one module per command."""

from .app import main

__all__ = ["main"]
