"""Text -> ids, where some stretches of the text are somebody's words and may not become control tokens."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from accord.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = npt.NDArray[np.int32]
Span = tuple[int, int]

PRIVATE = range(0xF0000, 0x10FFFE)  # Unicode's two planes for private use
NEAR = 200  # characters at a prompt's end in which a special token is looked for: the header of the turn to come
TRIED = 16  # texts tokenised both ways before the quick one is believed


@dataclass(frozen=True, slots=True)
class Rendering:
    """A text to be tokenised. words: the characters of each control string that is meant as words.

    plain: the tokenizer adds what it adds to plain text (BOS); a chat template has written that itself.
    target: it is for a decoder beside an encoder; some tokenizers have another vocabulary or prefix for that.
    after: another one that this one starts with.
    """

    text: str
    words: tuple[Span, ...] = ()
    plain: bool = False
    target: bool = False
    after: Rendering | None = None

    def part(self, start: int, end: int) -> Rendering:
        """These characters of it."""
        within = tuple((a - start, b - start) for a, b in self.words if start <= a and b <= end)
        return Rendering(self.text[start:end], within, self.plain, self.target)


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
        added, named = tokenizer.added_tokens_decoder.items(), set(tokenizer.all_special_tokens)
        self.control = {
            int(i): token.content for i, token in added if token.content and (token.special or token.content in named)
        }
        longest_first = sorted(self.control.values(), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._dividers = re.compile("|".join(map(re.escape, self._separate(longest_first))) or "(?!)")
        self.divides: bool | None = None  # whether text between special tokens is known to be tokenised by itself
        self._disguised = self._normalised()
        self._spelled: dict[str, list[int]] = {}
        self.prefix, self.suffix = self._around()

    def _separate(self, contents: Sequence[str]) -> list[str]:
        """Special tokens that are found in any text before it is normalised: none that another token holds, or whose
        first characters may be another's last."""
        added = list(self.tokenizer.added_tokens_decoder.values())
        sure = {token.content for token in added if token.special and not token.normalized and not token.single_word}
        ends = {token.content[i:] for token in added for i in range(1, len(token.content))}
        sure = {one for one in sure if ends.isdisjoint(one[:i] for i in range(1, len(one)))}
        return [one for one in contents if one in sure and not any(one in t.content != one for t in added)]

    def _normalised(self) -> set[int]:
        """Control tokens that other words become, too, as a normaliser writes them: `</S>` in small letters."""
        if not self.tokenizer.is_fast or getattr(self.tokenizer.backend_tokenizer, "normalizer", None) is None:
            return set()
        added = self.tokenizer.added_tokens_decoder
        return {i for i in self.control if added[i].normalized and i != self.tokenizer.unk_token_id}

    def _around(self) -> tuple[list[int], list[int]]:
        """What the tokenizer puts before and behind a text, seen at the first one that it has tokens for."""
        others = (i for i in range(len(self.tokenizer)) if i not in self.control)
        for text in chain("a", (str(self.tokenizer.decode([i])) for i in others)):
            bare, whole = (self._known(text, add_special_tokens=on) for on in (False, True))
            places = [i for i in range(len(whole)) if whole[i : i + len(bare)] == bare]
            if bare and places:
                return whole[: places[0]], whole[places[0] + len(bare) :]
        raise InputError("the tokenizer has no tokens for any text", where=self.tokenizer.name_or_path)

    def _known(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Its ids; none where the tokenizer cannot write it."""
        try:
            return list(self.tokenizer(text, add_special_tokens=add_special_tokens)["input_ids"])
        except Exception as error:
            if type(error) is not Exception:  # the library below has only this one
                raise
            return []

    def find(self, text: str) -> tuple[Span, ...]:
        """The control strings in a text that is all words."""
        return tuple(match.span() for match in self._pattern.finditer(text))

    def stand_ins(self, strings: Iterable[str]) -> Mapping[str, str]:
        """One character for each control string that stands in what people said; often there is none.

        Private characters (of Unicode's two planes for those) that these strings do not use themselves.
        """
        said = "\0".join(strings)
        found = sorted(set(self._pattern.findall(said)))
        used = set(said) if found else set[str]()
        free = (character for character in map(chr, PRIVATE) if character not in used)
        return dict(zip(found, free, strict=False))

    def hide(self, value: Any, stand_in: Mapping[str, str]) -> Any:
        """Messages or tools with those characters in the place of the control strings."""
        if isinstance(value, str):
            return self._pattern.sub(lambda match: stand_in[match.group()], value)
        if isinstance(value, Mapping):
            return {self.hide(key, stand_in): self.hide(item, stand_in) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.hide(item, stand_in) for item in value]
        return value

    @staticmethod
    def reveal(text: str, stand_in: Mapping[str, str], after: Rendering | None = None) -> Rendering:
        """The text with its control strings back in place, and where they are."""
        if not stand_in:
            return Rendering(text, after=after)
        hidden = {character: control for control, character in stand_in.items()}
        pieces = re.split(f"([{''.join(hidden)}])", text)
        words, at = [], 0
        for i, piece in enumerate(pieces):
            pieces[i] = hidden.get(piece, piece)
            if piece in hidden:
                words.append((at, at + len(pieces[i])))
            at += len(pieces[i])
        return Rendering("".join(pieces), tuple(words), after=after)

    def encode(self, renderings: Sequence[Rendering], spans: Sequence[bool]) -> list[Encoded]:
        """Each rendering's ids; with the characters of each token where `spans` says so.

        What one shares with the rendering that it comes after, which must be there too, is tokenised once: tokenizers
        take the text between two special tokens by itself, so it is enough to start from the last of those. The first
        few are tokenised as a whole too; where that is not the same, all are.
        """
        cuts = [0 if span else self._cut(one) for one, span in zip(renderings, spans, strict=True)]
        if not any(cuts):
            return self._encode(renderings, spans)
        tails = [one.part(cut, len(one.text)) if cut else one for one, cut in zip(renderings, cuts, strict=True)]
        made = self._encode(tails, spans)
        at = {id(one): i for i, one in enumerate(renderings)}
        joined = [i for i, cut in enumerate(cuts) if cut]
        for i in joined:
            made[i] = self._joined(made[at[id(renderings[i].after)]], made[i])
        doubtful = joined[:TRIED] if self.divides is None else [i for i in joined if not len(made[i].ids)]
        wholes = self._encode([renderings[i] for i in doubtful], [False] * len(doubtful))
        if self.divides is None:
            self.divides = all(np.array_equal(made[i].ids, one.ids) for i, one in zip(doubtful, wholes, strict=True))
            return made if self.divides else self._encode(renderings, spans)
        for i, one in zip(doubtful, wholes, strict=True):
            made[i] = one
        return made

    def _cut(self, rendering: Rendering) -> int:
        """The characters that need no second look: up to the last special token of what the rendering comes after."""
        before = rendering.after
        if before is None or rendering.words or rendering.plain or self.divides is False:
            return 0
        places = [match.start() for match in self._dividers.finditer(before.text, max(0, len(before.text) - NEAR))]
        return places[-1] if places else 0

    def _joined(self, before: Encoded, tail: Encoded) -> Encoded:
        """Nothing where the two do not meet in the same special token."""
        place = next((i for i in range(len(before.ids) - 1, -1, -1) if int(before.ids[i]) in self.control), 0)
        meet = len(tail.ids) > 0 and len(before.ids) > 0 and before.ids[place] == tail.ids[0]
        return Encoded(np.concatenate([before.ids[:place], tail.ids]) if meet else tail.ids[:0])

    def _encode(self, renderings: Sequence[Rendering], spans: Sequence[bool]) -> list[Encoded]:
        made: list[Encoded | None] = [None] * len(renderings)
        every = zip(renderings, spans, strict=True)
        kinds = [(one.plain, span or bool(one.words or self._disguised), one.target) for one, span in every]
        for kind in sorted(set(kinds)):
            places = [i for i, found in enumerate(kinds) if found == kind]
            chosen = [renderings[i] for i in places]
            try:
                found = self._batch(chosen, *kind)
            except Exception as error:
                if type(error) is not Exception:  # the library below has only this one
                    raise
                raise self._unwritable(chosen, error) from error
            for i, encoded in zip(places, found, strict=True):
                made[i] = encoded
        return [encoded for encoded in made if encoded is not None]

    def _unwritable(self, renderings: Sequence[Rendering], error: Exception) -> InputError:
        """Names the first text that has no tokens."""
        text = next((one.text for one in renderings if not self._known(one.text, add_special_tokens=False)), "")
        what = f"cannot write this text ({error}): {reprlib.repr(text)}"
        fix = "give the tokenizer an unk_token, or take one that writes every text, as one on bytes"
        return InputError(what, where=self.tokenizer.name_or_path, fix=fix)

    def _batch(self, renderings: Sequence[Rendering], plain: bool, located: bool, target: bool) -> list[Encoded]:
        texts = [one.text for one in renderings]
        if not located:
            quick = None if target or not self.tokenizer.is_fast else self._quick(texts, plain)
            return [Encoded(_ids(row)) for row in quick or self._stock(texts, plain, target=target)["input_ids"]]
        if not self.tokenizer.is_fast:
            what = "this tokenizer does not say which characters its tokens stand for"
            fix = "save it as tokenizer.json (a fast tokenizer), or drop rows with several turns or control strings"
            raise InputError(what, where=self.tokenizer.name_or_path, fix=fix)
        encoding = self._stock(texts, plain, target=target, located=True)
        places = [_ids(row).reshape(-1, 2) for row in encoding["offset_mapping"]]
        every = zip(renderings, encoding["input_ids"], places, strict=True)
        return [self._spell_out(one, Encoded(_ids(row), at[:, 0], at[:, 1])) for one, row, at in every]

    def _stock(self, texts: list[str], plain: bool, *, target: bool = False, located: bool = False) -> Any:
        return self.tokenizer(
            **{"text_target" if target else "text": texts},
            add_special_tokens=plain,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_offsets_mapping=located,
            verbose=False,
        )

    def _quick(self, texts: list[str], plain: bool) -> list[list[int]] | None:
        """The same from the library below, which need not give masks and places. Stock has set it up, for the first
        text, and must agree on that."""
        first = self._stock(texts[:1], plain)["input_ids"]
        if len(texts) == 1:
            return list(first)
        backend: Any = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            return None
        found = [one.ids for one in backend.encode_batch_fast(texts, add_special_tokens=plain)]
        return found if found[0] == first[0] else None

    def _spell_out(self, rendering: Rendering, encoded: Encoded) -> Encoded:
        """Puts ordinary tokens in the place of each control token that stands for words; all others stay."""
        if not rendering.words and not self._disguised:
            return encoded
        assert encoded.start is not None and encoded.end is not None
        ids, places = list[int](), list[Span]()
        for token, *place in zip(encoded.ids.tolist(), encoded.start.tolist(), encoded.end.tolist(), strict=True):
            start, end = place
            text = rendering.text[start:end]
            if token in self.control and start < end and self._is_said(token, text, start, rendering.words):
                spelled = self._spell(text, token)
                ids += spelled
                places += [(start, end)] * len(spelled)
            else:
                ids.append(token)
                places.append((start, end))
        at = np.asarray(places, dtype=np.int32).reshape(-1, 2)
        return Encoded(np.asarray(ids, dtype=np.int32), at[:, 0], at[:, 1])

    def _is_said(self, control: int, text: str, start: int, words: Sequence[Span]) -> bool:
        """Whether a control token that stands for this text, white space around it included, is somebody's words."""
        if self.control[control].strip() != text.strip():
            return control in self._disguised
        return any(a < start + len(text) and start < b for a, b in words)

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


def _ids(row: Any) -> Ids:
    return np.asarray(row, dtype=np.int32)
