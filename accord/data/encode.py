"""Text -> ids, where some stretches of the text are somebody's words and may not become control tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from accord.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = npt.NDArray[np.int32]
Span = tuple[int, int]

# Stand-ins for control strings while a template writes the text: one private character each, from a block that the row
# does not use itself. (Unicode's two planes for private use.)
STAND_INS = range(0xF0000, 0x10F000, 0x1000)


@dataclass(frozen=True, slots=True)
class Rendering:
    """A text to be tokenised. words: the characters of each control string that is meant as words.

    plain: the tokenizer adds what it adds to plain text (BOS); a chat template has written that itself.
    target: it is for a decoder beside an encoder; some tokenizers have another vocabulary or prefix for that.
    """

    text: str
    words: tuple[Span, ...] = ()
    plain: bool = False
    target: bool = False

    def part(self, start: int, end: int) -> Rendering:
        """These characters of it."""
        within = tuple((a - start, b - start) for a, b in self.words if start <= a and b <= end)
        return replace(self, text=self.text[start:end], words=within)


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """ids (T,), and the characters [start, end) of each (T,), where they were asked for."""

    ids: Ids
    start: Ids | None = None
    end: Ids | None = None

    def tokens(self, span: Span) -> Span:
        """The tokens that hold any character of the span."""
        assert self.start is not None and self.end is not None
        # What a tokenizer adds at the end has the place 0 to 0: it goes with the token before it.
        start, end = (np.maximum.accumulate(places) for places in (self.start, self.end))
        return int(np.searchsorted(end, span[0], "right")), int(np.searchsorted(start, span[1], "left"))


class Encoder:
    """One tokenizer, and what it knows of its special tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder.items()
        self.control = {int(i): token.content for i, token in added if token.special and token.content}
        longest_first = sorted(self.control.values(), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._spelled: dict[str, list[int]] = {}
        bare, whole = self._probe(add_special_tokens=False), self._probe(add_special_tokens=True)
        places = [i for i in range(len(whole)) if whole[i : i + len(bare)] == bare]
        self.prefix, self.suffix = whole[: places[0]], whole[places[0] + len(bare) :]

    def _probe(self, *, add_special_tokens: bool) -> list[int]:
        return list(self.tokenizer("a", add_special_tokens=add_special_tokens)["input_ids"])

    def find(self, text: str) -> tuple[Span, ...]:
        """The control strings in a text that is all words."""
        return tuple(match.span() for match in self._pattern.finditer(text))

    def hide(self, value: Any) -> tuple[Any, Mapping[str, str]]:
        """Messages and tools with a stand-in for each control string, and what each stands for; often nothing to do."""
        strings = list(_strings(value))
        found = sorted({match.group() for text in strings for match in self._pattern.finditer(text)})
        if not found:
            return value, {}
        used = {ord(character) & ~0xFFF for text in strings for character in text}
        block = next(block for block in STAND_INS if block not in used)
        stand_in = {text: chr(block + i) for i, text in enumerate(found)}
        return self._replaced(value, stand_in), {character: text for text, character in stand_in.items()}

    def _replaced(self, value: Any, stand_in: Mapping[str, str]) -> Any:
        if isinstance(value, str):
            return self._pattern.sub(lambda match: stand_in[match.group()], value)
        if isinstance(value, Mapping):
            return {key: self._replaced(item, stand_in) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._replaced(item, stand_in) for item in value]
        return value

    @staticmethod
    def reveal(text: str, hidden: Mapping[str, str]) -> Rendering:
        """The text with its control strings back in place, and where they are."""
        if not hidden:
            return Rendering(text)
        pieces = re.split(f"([{''.join(hidden)}])", text)
        words, at = [], 0
        for i, piece in enumerate(pieces):
            pieces[i] = hidden.get(piece, piece)
            if piece in hidden:
                words.append((at, at + len(pieces[i])))
            at += len(pieces[i])
        return Rendering("".join(pieces), tuple(words))

    def encode(self, renderings: Sequence[Rendering], spans: Sequence[bool]) -> list[Encoded]:
        """Each rendering's ids; with the characters of each token where `spans` says so."""
        made: list[Encoded | None] = [None] * len(renderings)
        kinds = [(one.plain, span or bool(one.words), one.target) for one, span in zip(renderings, spans, strict=True)]
        for kind in product((False, True), repeat=3):
            places = [i for i, found in enumerate(kinds) if found == kind]
            for i, encoded in zip(places, self._batch([renderings[i] for i in places], *kind), strict=True):
                made[i] = encoded
        return [encoded for encoded in made if encoded is not None]

    def _batch(self, renderings: Sequence[Rendering], plain: bool, located: bool, target: bool) -> list[Encoded]:
        if not renderings:
            return []
        if located and not self.tokenizer.is_fast:
            what = "this tokenizer does not say which characters its tokens stand for"
            fix = "save it as tokenizer.json (a fast tokenizer), or drop rows with several turns or control strings"
            raise InputError(what, where=self.tokenizer.name_or_path, fix=fix)
        encoding = self.tokenizer(
            **{"text_target" if target else "text": [one.text for one in renderings]},
            add_special_tokens=plain,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_offsets_mapping=located,
            verbose=False,
        )
        ids = [np.asarray(row, dtype=np.int32) for row in encoding["input_ids"]]
        if not located:
            return [Encoded(row) for row in ids]
        places = [np.asarray(row, dtype=np.int32).reshape(-1, 2) for row in encoding["offset_mapping"]]
        every = zip(renderings, ids, places, strict=True)
        return [self._spell_out(one, Encoded(row, at[:, 0], at[:, 1])) for one, row, at in every]

    def _spell_out(self, rendering: Rendering, encoded: Encoded) -> Encoded:
        """Puts ordinary tokens in the place of each control token that stands for words; all others stay."""
        if not rendering.words:
            return encoded
        assert encoded.start is not None and encoded.end is not None
        ids, places = list[int](), list[Span]()
        for token, *place in zip(encoded.ids.tolist(), encoded.start.tolist(), encoded.end.tolist(), strict=True):
            start, end = place
            text = rendering.text[start:end]
            if self.control.get(token) == text.strip() and any(a < end and start < b for a, b in rendering.words):
                spelled = self._spell(text, token)
                ids += spelled
                places += [(start, end)] * len(spelled)
            else:
                ids.append(token)
                places.append((start, end))
        at = np.asarray(places, dtype=np.int32).reshape(-1, 2)
        return Encoded(np.asarray(ids, dtype=np.int32), at[:, 0], at[:, 1])

    def _spell(self, text: str, control: int) -> list[int]:
        """The ids of a control string as words: without the control token itself."""
        if text not in self._spelled:
            ids = self._as_words(text)
            if control in ids:  # a tokenizer that knows the whole string as a word too
                ids = [token for character in text for token in self._as_words(character)]
            if control in ids:
                raise InputError(f"the tokenizer has no other token for {text!r}", where=self.tokenizer.name_or_path)
            self._spelled[text] = ids
        return self._spelled[text]

    def _as_words(self, text: str) -> list[int]:
        """After a line break, taken away again: at the very start some tokenizers would put a space before the text."""
        ids, line_break = (
            list(self.tokenizer(one, add_special_tokens=False, split_special_tokens=True)["input_ids"])
            for one in ("\n" + text, "\n")
        )
        return ids[len(line_break) :] if ids[: len(line_break)] == line_break else ids


def _strings(value: Any) -> Iterator[str]:
    """All strings in messages or tools, except the keys: those the template author chose."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)
