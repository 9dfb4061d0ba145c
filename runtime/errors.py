"""errors.py: the typed errors of Colonnade; each message says what was wrong, where, and how to mend it."""

from __future__ import annotations


class ColonnadeError(Exception):
    """Base of every error that Colonnade raises on bad input or a bad environment."""


class UsageError(ColonnadeError):
    """An argument or an option is outside its documented domain."""


class ConfigError(ColonnadeError):
    """A configuration file or value does not describe something that can be run."""


class RecordingError(ColonnadeError):
    """A recording cannot be opened or written: unknown format, missing topic, unreadable file."""


class CorruptFrameError(RecordingError):
    """One frame of a recording cannot be decoded; the others may still be good."""


class ModelError(ColonnadeError):
    """A model folder is missing, damaged, or does not fit the code that loads it."""


class DatasetError(ColonnadeError):
    """Labels, calibration or poses of a dataset are missing or malformed."""


class MissingExtraError(ColonnadeError):
    """An optional dependency is not installed.

    Args:
        package: the distribution that could not be imported.
        extra: the extra of Colonnade that brings it.
        purpose: what it is needed for, as a noun phrase.
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed; "
            f"install it with: pip install 'colonnade[{extra}]'"
        )
