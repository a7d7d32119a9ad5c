"""What the chat template writes for a group's turns, and which of the characters the assistant says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2

from accord.data.encode import Encoder, Rendering, Span
from accord.errors import InputError
from accord.records import Group, RecordError, Text, Turns

SHOWN = 40  # characters shown on either side of a difference
OTHER_TEMPLATE = "--chat_template FILE or --chat_template_kwargs"
OURS = ("tools", "chat_template", "add_generation_prompt", "continue_final_message", "tokenize", "return_dict")


class Template:
    """One tokenizer's chat template, or another in its place, with the keyword arguments it is always given."""

    def __init__(self, encoder: Encoder, chat_template: str | None, template_kwargs: Mapping[str, Any]) -> None:
        if taken := sorted(set(OURS).intersection(template_kwargs)):
            raise InputError(f"{taken[0]!r} is set by accord", where="chat_template_kwargs", fix="leave it out")
        self.encoder, self.tokenizer = encoder, encoder.tokenizer
        self.chat_template, self.template_kwargs = chat_template, dict(template_kwargs)

    def render(self, group: Group, turns: Turns, *, generation: bool = False) -> Rendering:
        """What the chat template writes for these turns."""
        if not (self.chat_template or self.tokenizer.chat_template):
            what = "this tokenizer has no chat template, and the data are conversations"
            raise InputError(what, where=self.tokenizer.name_or_path, fix="--chat_template FILE")
        messages, tools = [turn.plain() for turn in turns], list(group.tools) or None
        (messages, tools), hidden = self.encoder.hide((messages, tools))
        try:
            text = self.tokenizer.apply_chat_template(
                messages,
                tools=tools,
                chat_template=self.chat_template,
                add_generation_prompt=generation,
                tokenize=False,
                **self.template_kwargs,
            )
        except jinja2.TemplateSyntaxError as error:
            what = f"{error.message} (line {error.lineno})"
            raise InputError(what, where="chat template", fix=OTHER_TEMPLATE) from error
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            what = f"the chat template refuses these turns ({error})"
            raise RecordError(what, origin=group.source, fix=f"drop the row, or {OTHER_TEMPLATE}") from error
        return self.encoder.reveal(str(text), hidden)

    def check_start(self, group: Group, prompt: str, whole: str) -> None:
        """What the model is given to continue must be the start of what it is trained on."""
        if whole.startswith(prompt):
            return
        pairs = enumerate(zip(prompt, whole, strict=False))
        at = next((i for i, (a, b) in pairs if a != b), min(len(prompt), len(whole)))
        near = slice(max(0, at - SHOWN), at + SHOWN)
        what = (
            f"the chat template writes the prompt alone as ...{prompt[near]!r}, but before a completion as "
            f"...{whole[near]!r} (they differ at character {at + 1})"
        )
        raise RecordError(what, origin=group.source, fix=OTHER_TEMPLATE)

    def stretches(self, group: Group, reply: Turns, border: int, whole: str, *, last: bool) -> tuple[Span, ...]:
        """The characters of `whole` from `border` on that the assistant says, unless that is all of them: then ().

        Left out: what others say within the reply, and the header of the assistant's turn after it. last: only the
        last turn of the reply counts.
        """
        prompt, start, found = as_turns(group.prompt), border, list[Span]()
        if last and len(reply) > 1:
            return ((self._reach(group, prompt + reply[:-1], border, whole, generation=True), len(whole)),)
        for i in (i for i, turn in enumerate(reply) if turn.role != "assistant"):
            if reply[i - 1].role == "assistant":
                found.append((start, self._reach(group, prompt + reply[:i], start, whole)))
            if reply[i + 1].role == "assistant":
                start = self._reach(group, prompt + reply[: i + 1], start, whole, generation=True)
        return (*found, (start, len(whole))) if found else ()

    def _reach(self, group: Group, turns: Turns, since: int, whole: str, *, generation: bool = False) -> int:
        """Where these first turns end in `whole`, of which they are known to hold the characters up to `since`.

        Some templates write the last turn differently from earlier ones (Qwen3 puts an empty thought before it). If it
        still ends the same way, that end is found; if not, RecordError.
        """
        part = self.render(group, turns, generation=generation).text
        if not generation and not whole.startswith(part):
            said = turns[-1].content.strip()[-SHOWN:]
            for end in range(min(len(whole), since + len(part)), since, -1):
                if part.endswith(whole[since:end]) and said in whole[since:end]:
                    return end
        self.check_start(group, part, whole)
        return len(part)

    def system_end(self, group: Group, whole: str) -> int:
        """Where the system turn ends in the rendering of the prompt; 0 without one."""
        first = as_turns(group.prompt)[0]
        if first.role not in ("system", "developer"):
            return 0
        try:
            alone = self.render(group, (first,)).text
        except RecordError:  # templates that write it inside the user's turn refuse it alone
            alone = ""
        said = first.content.strip()
        if alone and said in alone and whole.startswith(alone):
            return len(alone)
        return whole.index(said) + len(said) if said in whole else len(whole)


def as_turns(content: Text) -> Turns:
    assert not isinstance(content, str), "plain text where the group has turns; read_groups refuses that"
    return content
