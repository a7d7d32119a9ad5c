"""`accord chat`: a conversation with a model in the terminal, or line by line through a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from typing import TextIO

from transformers import PreTrainedTokenizerBase

from accord.data.dialogue import Dialogue
from accord.data.encode import Ids
from accord.errors import AccordError, InputError, Terminated
from accord.models.logprobs import LanguageModel
from accord.models.sample import ends_of
from accord.models.stream import stream
from accord.records import Message, Text
from accord.stages.chat_text import Answer
from accord.stages.config import ChatConfig
from accord.stages.sample_made import drawing_of, stop_of
from accord.stages.setup import Given, apart, machine, moved, network_of, say, tokenizer_of

PROMPT = "> "
HELP = "/reset begins anew, /system TEXT sets the system turn, /quit ends; Ctrl-C stops an answer"


def run(config: ChatConfig, given: Given) -> None:
    """Until /quit or the end of standard input, a line of which is a question."""
    place = machine(config.model, threads=config.drawing.threads, max_tokens=None)
    tokenizer = tokenizer_of(config.model, given)
    network = network_of(config.model.model, given.get("model"), tokenizer, config.model, place)
    if "model" not in given:
        moved(network, place.device, place.dtype)
    dialogue = Dialogue(tokenizer, template_kwargs=config.model.chat_template_kwargs, apart=apart(config.model, given))
    chat = Chat(config, LanguageModel(network), dialogue)
    say(HELP if chat.takes_turns else f"no chat template: every line is a text that goes on. {HELP}")
    for line in _lines(sys.stdin):
        if line.strip() == "/quit":
            return
        chat.hear(line)


def _lines(source: TextIO) -> Iterator[str]:
    """What is typed, after a prompt on a terminal; what comes through a pipe, without."""
    if not source.isatty():
        yield from (line.rstrip("\n") for line in source)
        return
    with suppress(ImportError):
        import readline  # noqa: F401  # lets input() edit a line and remember those before
    while True:
        try:
            yield input(PROMPT)
        except EOFError:
            print()
            return
        except KeyboardInterrupt as stopped:
            if isinstance(stopped, Terminated):
                raise
            print()


class Chat:
    """A conversation so far: turns for a model with a chat template, a text for another."""

    def __init__(self, config: ChatConfig, model: LanguageModel, dialogue: Dialogue) -> None:
        self.config, self.model, self.dialogue = config, model, dialogue
        self.tokenizer: PreTrainedTokenizerBase = dialogue.tokenizer
        self.takes_turns = bool(self.tokenizer.chat_template)
        self.system = config.chat.system
        self.ends, self.stop = ends_of(model.network, self.tokenizer), stop_of(config.drawing, self.tokenizer)
        self.turns: list[Message] = []
        self.text = ""
        self._numbers = count()  # a question that comes again gets another answer
        if self.system is not None and not self.takes_turns:
            raise InputError("the model has no chat template", where="system", fix="leave it out, or --chat_template")

    def hear(self, line: str) -> None:
        """A command, or something to be answered on standard output."""
        word, _, rest = line.strip().partition(" ")
        if word == "/reset":
            self._begin_anew()
        elif word == "/system":
            self._set_system(rest.strip())
        elif word in ("/help", "/?"):
            say(HELP)
        elif line.strip():
            self._answer(line)

    def _begin_anew(self) -> None:
        self.turns, self.text = [], ""
        say("a new conversation")

    def _set_system(self, text: str) -> None:
        if not self.takes_turns:
            say("note: without a chat template there is no system turn")
            return
        self.system = text or None
        self._begin_anew()

    def _answer(self, line: str) -> None:
        before = (list(self.turns), self.text)
        self.turns.append(Message("user", line))
        self.text += line
        try:
            said = self._told(self._prompt())
        except AccordError as error:  # a conversation that is too long, or a template that refuses its turns
            self.turns, self.text = before
            say(f"error: {error}")
            return
        self.turns.append(Message("assistant", said))
        self.text += said

    def _prompt(self) -> Text:
        if not self.takes_turns:
            return self.text
        system = () if self.system is None else (Message("system", self.system),)
        return (*system, *self.turns)

    def _told(self, prompt: Text) -> str:
        """Writes the answer as it comes. InputError where there is no room for one."""
        ids = self.dialogue.prompt_ids(prompt)
        answer = Answer(self.tokenizer, ids, self.ends, self.config.drawing.stop)
        found = ids[:0]
        try:
            for found in self._tokens(ids):
                print(answer.grown(found), end="", flush=True)
            print(answer.rest(found), flush=True)
        except KeyboardInterrupt as stopped:  # what was held back is not said
            if isinstance(stopped, Terminated):
                raise
            print()
        if not len(found):
            fix = "/reset"
            raise InputError(f"{len(ids)} tokens, which leave no room for an answer", where="conversation", fix=fix)
        return answer.shown

    def _tokens(self, ids: Ids) -> Iterator[Ids]:
        options = self.config.drawing
        return stream(
            self.model,
            ids,
            max_new_tokens=options.max_new_tokens,
            ends=self.ends,
            seed=options.seed,
            number=next(self._numbers),
            drawing=drawing_of(options),
            stop=self.stop,
        )
