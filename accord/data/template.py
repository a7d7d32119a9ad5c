"""One tokenizer's chat template: tried in a sandbox, then rendered here, to the letter as stock transformers does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from accord.data.sandbox import PROBES, written
from accord.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = list[dict[str, Any]]
Tools = list[dict[str, Any]] | None
Write = Callable[[Messages, Tools, bool], str]  # messages, tools, add_generation_prompt -> text

# What apply_chat_template takes itself: none of it reaches a template as a variable of its own.
OURS = (
    *("conversation", "conversations", "messages", "tools", "chat_template", "add_generation_prompt", "tokenize"),
    *("continue_final_message", "return_dict", "return_tensors", "return_assistant_tokens_mask", "tokenizer_kwargs"),
    *("sanitize_control_tokens", "padding", "truncation", "max_length"),
)
CLOCK = "strftime_now"  # the function by which templates ask for the time


class Template:
    """A tokenizer's chat template, or another in its place, with the keyword arguments it is always given.

    clock: what a template that asks for the time (`strftime_now`) is told; not given: the time, as stock does.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        chat_template: str | None,
        template_kwargs: Mapping[str, Any],
        clock: datetime | None = None,
    ) -> None:
        if taken := sorted(set(OURS).intersection(template_kwargs)):
            raise InputError(f"{taken[0]!r} is set by accord", where="chat_template_kwargs", fix="leave it out")
        self.tokenizer, self.chat_template, self.template_kwargs = tokenizer, chat_template, dict(template_kwargs)
        self.clock = clock
        self._writers: dict[bool, Write] = {}

    def write(self, messages: Messages, tools: Tools, *, generation: bool) -> str:
        """What stock apply_chat_template writes. Exceptions are the template's own; InputError: it may not be used."""
        if (write := self._writers.get(tools is not None)) is None:
            write = self._writers[tools is not None] = self._trusted(tools)
        return write(messages, tools, generation)

    def _trusted(self, tools: Tools) -> Write:
        """The way to write for groups with tools, or without: some tokenizers have a template of its own for each."""
        text = self._text(tools)
        given = {**self.tokenizer.special_tokens_map, **self.template_kwargs}
        clock = self.clock if CLOCK in text else None
        try:
            expected = written(text, given, clock)
        except InputError as error:
            raise InputError(error.what, where=self.tokenizer.name_or_path, fix=error.fix) from None
        quick = _quick(text, given, clock)
        if quick is None or not self._equal(quick, expected):
            return self._stock

        def write(messages: Messages, tools: Tools, generation: bool) -> str:
            bare = tools is None and all(message.keys() == {"role", "content"} for message in messages)
            return quick(messages, tools, generation) if bare else self._stock(messages, tools, generation)

        return write

    def _text(self, tools: Tools) -> str:
        """The template itself: a tokenizer may have several, by name."""
        if not (self.chat_template or self.tokenizer.chat_template):
            what = "this tokenizer has no chat template, and the data are conversations"
            raise InputError(what, where=self.tokenizer.name_or_path, fix="--chat_template FILE")
        try:
            return str(self.tokenizer.get_chat_template(self.chat_template, tools))
        except ValueError as error:
            what = "this tokenizer has several chat templates, and none is called default"
            raise InputError(what, where=self.tokenizer.name_or_path, fix="--chat_template FILE") from error

    def _stock(self, messages: Messages, tools: Tools, generation: bool) -> str:
        apply: Any = self.tokenizer.apply_chat_template
        with _told(self._text(tools), self.clock):
            text = apply(
                messages,
                tools=tools,
                chat_template=self.chat_template,
                add_generation_prompt=generation,
                tokenize=False,
                **self.template_kwargs,
            )
        return str(text)

    def _equal(self, quick: Write, expected: Sequence[str | None]) -> bool:
        """Whether the quick way writes what stock does, here and in the sandbox, of everything that it may be given."""
        found = []
        for probe, text in zip(PROBES, expected, strict=True):
            if text is not None and probe.tools is None:
                found += [write(*probe) == text for write in (quick, self._stock)]
        return bool(found) and all(found)


@contextmanager
def _told(text: str, clock: datetime | None) -> Iterator[None]:
    """In here, this template is told that time. It takes no function as a variable from outside; its globals do."""
    compile_ = _compiler() if clock is not None and CLOCK in text else None
    if compile_ is None or clock is None:
        yield
        return
    known = compile_(text).globals
    before = known[CLOCK]
    known[CLOCK] = clock.strftime
    try:
        yield
    finally:
        known[CLOCK] = before


def _compiler() -> Callable[[str], Any] | None:
    """transformers' own, which keeps what it has compiled; None where it is not where it was."""
    from transformers.utils import chat_template_utils  # whoever made the tokenizer has loaded it already

    return getattr(chat_template_utils, "_compile_jinja_template", None)


def _quick(text: str, given: Mapping[str, Any], clock: datetime | None) -> Write | None:
    """Without what stock does anew at each call: it copies everything into plain values, of which messages of a role
    and a text consist anyway. None: the variables do not, or transformers' compiler is not where it was."""
    compile_ = _compiler()
    try:
        plain = json.loads(json.dumps(given)) == given
    except (TypeError, ValueError):
        plain = False
    if compile_ is None or not plain:
        return None
    render = compile_(text).render
    others = {"documents": None, **given, **({CLOCK: clock.strftime} if clock is not None else {})}

    def write(messages: Messages, tools: Tools, generation: bool) -> str:
        return str(render(messages=messages, tools=tools, add_generation_prompt=generation, **others))

    return write
