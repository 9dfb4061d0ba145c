"""wordpiece.py: BERT's uncased WordPiece tokeniser, for the examples."""

from __future__ import annotations

import unicodedata
from pathlib import Path

_LONGEST_WORD = 100  # characters; longer ones are unknown


class WordPiece:
    """Splits text into the pieces of a vocabulary file, one piece a line."""

    def __init__(self, vocabulary: Path) -> None:
        pieces = vocabulary.read_text(encoding="utf-8").splitlines()
        self._ids = {piece: number for number, piece in enumerate(pieces)}
        self._unknown, self._start, self._end = (self._ids[name] for name in ("[UNK]", "[CLS]", "[SEP]"))

    def encode(self, text: str, longest: int) -> list[int]:
        """Return the ids of a text between [CLS] and [SEP], at most `longest` of them."""
        ids = [piece for word in _split_words(text) for piece in self._split_word(word)]
        return [self._start, *ids[: longest - 2], self._end]

    def _split_word(self, word: str) -> list[int]:
        """Return the longest pieces from the left; [UNK] alone where a rest has none."""
        found: list[int] = []
        start = 0
        while start < len(word) <= _LONGEST_WORD:
            prefix = "##" if start else ""
            ends = (end for end in range(len(word), start, -1) if prefix + word[start:end] in self._ids)
            end = next(ends, None)
            if end is None:
                return [self._unknown]
            found.append(self._ids[prefix + word[start:end]])
            start = end
        return found or [self._unknown]


def _split_words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFD", text.lower())
    spaced = (_space(character) for character in plain if unicodedata.category(character) != "Mn")
    return "".join(spaced).split()


def _space(character: str) -> str:
    """Return a character, with spaces around it where it is a word of its own."""
    category, code = unicodedata.category(character), ord(character)
    if character in "\t\n\r" or category == "Zs":
        return " "
    if category in ("Cc", "Cf") or code in (0, 0xFFFD):
        return ""
    is_symbol = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    is_ideograph = 0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF
    return f" {character} " if is_symbol or category.startswith("P") or is_ideograph else character
