"""Strings at which a sample ends, wherever its tokens cut them."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from accord.data.encode import Ids

MARGIN = 8  # tokens that are decoded before those that a stop string can take


@dataclass(frozen=True)
class StopStrings:
    """A sample ends with the token whose text completes one of `strings`. Control tokens count as their text.

    The sample's ids go up to that token, included. `cut` takes off its text the first stop string that stands in it and
    what comes after, which is never more than the rest of that one token; so the text is what stands before it.
    """

    tokenizer: PreTrainedTokenizerBase
    strings: tuple[str, ...]

    def found(self, ids: Ids) -> bool:
        """(T,) Whether the text of a sample contains one. Looked for at its end, then in all of it."""
        tail = ids[-(max(len(string.encode()) for string in self.strings) + MARGIN) :]
        return self._within(tail) and (len(tail) == len(ids) or self._within(ids))

    def cut(self, text: str) -> str:
        """The text before the first stop string; all of it where there is none."""
        return text[: min((place for string in self.strings if (place := text.find(string)) >= 0), default=len(text))]

    def _within(self, ids: Ids) -> bool:
        text = str(self.tokenizer.decode(ids))
        return any(string in text for string in self.strings)
