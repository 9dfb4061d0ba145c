"""file_names.py: names of files as text that any file can hold, whatever bytes they are made of."""

from __future__ import annotations


def readable_name(name: str) -> str:
    r"""Return `name` as text without lone surrogates, by which Python stands for bytes that it could not decode.

    Bytes that are UTF-8, as where the locale is C, become what they say; others are escaped, such as `\xff`.
    """
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a surrogate of another origin, as in a name on Windows
        return name.encode("utf-8", "backslashreplace").decode("utf-8")
