"""The text of an answer while it comes: what of it is certain already, whatever tokens may follow."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from transformers import PreTrainedTokenizerBase

from accord.data.encode import Ids

UNKNOWN = "\ufffd"  # stands for a letter whose bytes have not all come


class Answer:
    """Takes the ids as they grow, and gives what is new of the text.

    Without the end token, and up to the first stop string. A text is held back where it may still become part of a
    letter or of a stop string.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, prompt: Ids, ends: Collection[int], stops: Collection[str]
    ) -> None:
        self.tokenizer, self.prompt, self.ends, self.stops = tokenizer, prompt, ends, tuple(stops)
        self.before = str(tokenizer.decode(prompt))
        self.shown = ""

    def text(self, ids: Ids) -> str:
        """All of it. Decoded behind its prompt: some tokenizers leave out a blank at the start of a text."""
        body = ids[:-1] if len(ids) and int(ids[-1]) in self.ends else ids
        whole = str(self.tokenizer.decode(np.concatenate([self.prompt, body])))
        text = whole[len(self.before) :] if whole.startswith(self.before) else str(self.tokenizer.decode(body))
        return text[: min((at for stop in self.stops if (at := text.find(stop)) >= 0), default=len(text))]

    def grown(self, ids: Ids) -> str:
        """What is certain now and was not before."""
        certain = self.text(ids).rstrip(UNKNOWN)
        return self._new(certain[: len(certain) - self._begun(certain)])

    def rest(self, ids: Ids) -> str:
        """What was held back, at the end."""
        return self._new(self.text(ids))

    def _begun(self, text: str) -> int:
        """The length of the longest end of a text with which a stop string begins."""
        return max((n for stop in self.stops for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)

    def _new(self, text: str) -> str:
        new = text[len(self.shown) :] if text.startswith(self.shown) else ""
        self.shown += new
        return new
