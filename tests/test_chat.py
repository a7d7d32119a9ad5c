"""accord chat: what it answers is what the model says; commands, interruptions, lines through a pipe."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from stage_runs import loaded, words
from transformers import GenerationConfig

import accord.stages.chat as chatting
from accord.cli import main
from accord.errors import Terminated
from accord.models.logprobs import LanguageModel
from accord.models.sample import Drawing, StopStrings, sample
from accord.models.stream import stream
from accord.stages.chat_text import Answer

PROMPT = tiny.group(9, [1], seed=4).prompt
CALM = {"max_new_tokens": 8, "temperature": 0}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a chat template, and one without."""
    home = tmp_path_factory.mktemp("chat")
    tiny.write_model(home / "model")
    plain = tiny.write_model(home / "plain")
    (plain / "chat_template.jinja").unlink()
    return home


@pytest.fixture
def chat(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """chat("a question", "/reset", model="plain"): what it writes to standard output, and to standard error."""

    def run(*said: str, model: str = "model", code: int = 0, **options: Any) -> tuple[str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in said)))
        assert main(words("chat", {"model": home / model, **CALM, **options})) == code
        found = capsys.readouterr()
        return found.out, found.err

    return run


def likeliest(home: Path, text: str, model: str = "model") -> str:
    """What stock says behind a text."""
    network, tokenizer = loaded(home / model)
    ids = torch.tensor([tokenizer(text).input_ids])
    wanted = GenerationConfig(do_sample=False, max_new_tokens=8, eos_token_id=2, pad_token_id=0)
    made = network.generate(ids, attention_mask=torch.ones_like(ids), generation_config=wanted)[0]
    return str(tokenizer.decode(made))[len(tokenizer.decode(ids[0])) :].removesuffix("<|im_end|>")


def asked(home: Path, *turns: str, system: str | None = None) -> str:
    """What stock answers to these turns, the last of which is the user's."""
    _, tokenizer = loaded(home / "model")
    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return likeliest(home, text)


def test_an_answer_is_the_models_and_the_conversation_goes_on(home: Path, chat: Any) -> None:
    out, err = chat("the cat ?", "why", "/reset", "why")
    first = asked(home, "the cat ?")
    second = asked(home, "the cat ?", first, "why")
    alone = asked(home, "why")
    assert out == f"{first}\n{second}\n{alone}\n"
    assert second != alone
    assert "/reset begins anew" in err and "a new conversation" in err


def test_the_system_turn(home: Path, chat: Any) -> None:
    kind, plain, cross = (asked(home, "why", system=text) for text in ("be kind", None, "be cross"))
    assert len({kind, plain, cross}) == 3
    assert chat("why", system="be kind")[0] == f"{kind}\n"
    assert chat("why", "/system be cross", "why", "/system", "why")[0] == f"{plain}\n{cross}\n{plain}\n"


def test_nothing_is_read_after_quit(home: Path, chat: Any) -> None:
    out, _ = chat("", "   ", "/quit", "why")
    assert out == ""


def test_a_model_without_a_template_goes_on_with_the_text(home: Path, chat: Any) -> None:
    out, err = chat("the cat", " and", "/reset", " and", model="plain")
    first = likeliest(home, "the cat", "plain")
    assert out == f"{first}\n{likeliest(home, f'the cat{first} and', 'plain')}\n{likeliest(home, ' and', 'plain')}\n"
    assert "no chat template: every line is a text that goes on" in err
    assert "there is no system turn" in chat("/system be kind", model="plain")[1]
    assert "system: the model has no chat template" in chat("why", model="plain", system="be kind", code=2)[1]


def test_the_same_question_gets_another_answer(chat: Any) -> None:
    out, _ = chat("why", "/reset", "why", temperature=1)
    assert chat("why", "/reset", "why", temperature=1)[0] == out
    one, other = out[: len(out) // 2], out[len(out) // 2 :]
    assert one != other


def test_a_conversation_that_is_too_long_is_said_and_goes_on(home: Path, chat: Any) -> None:
    tiny.write_model(home / "short", tiny.llama(vocab_size=300, max_position_embeddings=48))
    out, err = chat(
        "why", "the cat sat on a mat and dogs ran far in rain while birds sang well", "/reset", "why", model="short"
    )
    assert "error: conversation: " in err and "no room for an answer: /reset" in err
    assert out == f"{asked(home, 'why')}\n\n{asked(home, 'why')}\n"


def interrupted(error: BaseException) -> Any:
    """A stream whose first answer is stopped after three tokens."""
    calls = []

    def one(*given: Any, **options: Any) -> Iterator[Any]:
        calls.append(given)
        for number, ids in enumerate(stream(*given, **options)):
            if len(calls) == 1 and number == 3:
                raise error
            yield ids

    return one


def test_an_interruption_ends_the_answer_and_not_the_program(
    home: Path, chat: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was said by then is part of the conversation."""
    whole = asked(home, "the cat ?")
    monkeypatch.setattr(chatting, "stream", interrupted(KeyboardInterrupt()))
    out, _ = chat("the cat ?", "why")
    said, second, _ = out.split("\n")
    assert whole.startswith(said) and 0 < len(said) < len(whole)
    assert second == asked(home, "the cat ?", said, "why")
    monkeypatch.setattr(chatting, "stream", interrupted(Terminated()))
    assert "terminated" in chat("the cat ?", "why", code=143)[1]


def test_a_stream_is_a_sample() -> None:
    model = LanguageModel(tiny.gemma2())
    options: dict[str, Any] = {
        "max_new_tokens": 12,
        "ends": range(2, 90, 11),
        "seed": 5,
        "drawing": Drawing(1.2, top_k=9),
    }
    (made,) = sample(model, [PROMPT], count=4, **options)
    for number, one in enumerate(made):
        found = list(stream(model, PROMPT, number=number, **options))
        assert [len(ids) for ids in found] == list(range(1, len(one.ids) + 1))
        assert found[-1].tolist() == one.ids.tolist()
    full = tiny.gpt2(n_positions=9)
    assert list(stream(LanguageModel(full), PROMPT, max_new_tokens=3, ends=(), seed=0)) == []


def test_a_text_is_shown_once_it_is_certain() -> None:
    """Neither half a letter nor the beginning of a stop string."""
    tokenizer = tiny.tokenizer()
    text = "the cat é sat Q\u4e2d Q: no"
    ids = np.array(tokenizer(text).input_ids, dtype=np.int32)
    assert len(ids) > len(text.split())
    answer, shown = Answer(tokenizer, PROMPT[:0], {2}, ("Q: ",)), []
    for end in range(1, len(ids) + 1):
        shown.append(answer.grown(ids[:end]))
        assert "\ufffd" not in shown[-1] and "Q:" not in shown[-1]
    shown.append(answer.rest(ids))
    assert "".join(shown) == "the cat é sat Q\u4e2d "
    assert sum(map(bool, shown)) > 5  # it came bit by bit
    assert StopStrings(tokenizer, ("Q: ",)).found(ids)
    cut = Answer(tokenizer, PROMPT[:0], {2}, ("Q: ",))
    assert cut.grown(ids[:-3]) + cut.rest(ids[:-3]) == tokenizer.decode(ids[:-3]).split("Q: ")[0]


def test_the_end_token_is_not_shown_and_other_control_tokens_are() -> None:
    tokenizer = tiny.tokenizer()
    ids = np.array([*tokenizer("the").input_ids, 1, 2], dtype=np.int32)
    assert Answer(tokenizer, PROMPT[:0], {2}, ()).rest(ids) == "the<|im_start|>"
