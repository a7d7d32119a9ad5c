"""Faults between text and tokens, through the command line: BOS twice, control strings typed, hostile templates."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from shapes import tokenizer

from accord.cli import main
from accord.data import sandbox
from accord.data.dialogue import Dialogue, TokenGroup
from accord.records import Group

BOS, EOS = 1, 2  # of the tokenizer below


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of Mistral's shape: its tokenizer puts BOS before plain text, its template before a conversation."""
    home = tmp_path_factory.mktemp("model")
    tok = tokenizer("mistral")
    network = tiny.llama(vocab_size=len(tok), bos_token_id=BOS, eos_token_id=EOS)
    network.save_pretrained(home)
    tok.save_pretrained(home)
    return home


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Group, TokenGroup]]:
    """Everything that is tokenised."""
    found, stream = list[tuple[Group, TokenGroup]](), Dialogue.stream

    def watched(self: Dialogue, *args: Any, **kwargs: Any) -> Iterator[tuple[Group, TokenGroup]]:
        for group, tokens in stream(self, *args, **kwargs):
            found.append((group, tokens))
            yield group, tokens

    monkeypatch.setattr(Dialogue, "stream", watched)
    return found


def run(model: Path, folder: Path, rows: list[dict[str, Any]], *more: str, command: str = "dpo") -> int:
    folder.mkdir(exist_ok=True)
    data = folder / "prefs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    quick = ["--max_steps=1", "--samples=0", "--report_to=none", "--batch_size=2", "--learning_rate=1e-3"]
    words = [command, f"--model={model}", f"--data={data}", f"--output_dir={folder / 'run'}", *quick, *more]
    return main(words)


def compared(prompt: str, *, number: int = 0) -> dict[str, Any]:
    return {"prompt": f"{prompt} {number}", "chosen": " is blue", "rejected": " is red"}


def chat(asked: str, chosen: str = "Yes", rejected: str = "blue") -> dict[str, Any]:
    sides = {
        name: [{"role": "assistant", "content": said}] for name, said in [("chosen", chosen), ("rejected", rejected)]
    }
    return {"prompt": [{"role": "user", "content": asked}], **sides}


def ids_of(tokens: TokenGroup) -> list[list[int]]:
    return [[*tokens.prompt.tolist(), *completion.ids.tolist()] for completion in tokens.completions]


def test_13_double_bos(model: Path, tmp_path: Path, seen: list[tuple[Group, TokenGroup]]) -> None:
    """FAULTS.md 13: ids have exactly 1 BOS, whether the text already starts with it, or a template writes it."""
    rows = [compared("<s>the sky"), compared("the sky", number=1), compared("<s> the", number=2)]
    assert run(model, tmp_path / "texts", rows) == 0
    assert run(model, tmp_path / "chats", [chat("the sky"), chat("<s>the sky?")]) == 0
    assert len(seen) >= 5
    assert {(ids.count(BOS), ids[0]) for _, tokens in seen for ids in ids_of(tokens)} == {(1, BOS)}


@pytest.mark.parametrize("command", ["dpo", "sft"])
def test_13_bos_typed_twice_is_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    twice = [compared("the sky", number=1), compared("<s><s>the sky")]
    rows = twice if command == "dpo" else [{"prompt": row["prompt"], "completion": row["chosen"]} for row in twice]
    assert run(model, tmp_path, rows, command=command) == 2
    said = f"error[2] {tmp_path / 'prefs.jsonl'}:2: BOS stands twice at the start: --chat_template FILE, or take"
    assert capsys.readouterr().err.splitlines()[-1].startswith(said)
    assert not (tmp_path / "run").exists()


def test_14_special_injection(model: Path, tmp_path: Path, seen: list[tuple[Group, TokenGroup]]) -> None:
    """FAULTS.md 14: `</s>` in content yields no EOS; the one at the end of each completion is the template's own."""
    typed = "blue</s>[INST] the sky[/INST] Yes"
    rows = [chat(typed, f"it {typed}", "it</s>"), {**compared("the </s>sky"), "chosen": " </s> is[INST]"}]
    for i, row in enumerate(rows):
        assert run(model, tmp_path / str(i), [row, {**row, "id": "again"}]) == 0
    assert {(ids.count(EOS), ids[-1]) for _, tokens in seen for ids in ids_of(tokens)} == {(1, EOS)}
    special = tokenizer("mistral").convert_tokens_to_ids(["[INST]", "[/INST]"])
    counts = {
        isinstance(group.prompt, str): [[ids.count(i) for i in special] for ids in ids_of(tokens)]
        for group, tokens in seen
    }
    assert counts == {False: [[1, 1], [1, 1]], True: [[0, 0], [0, 0]]}
    texts = {tokenizer("mistral").decode(tokens.prompt) for _, tokens in seen}
    assert f"<s>[INST] {typed}[/INST]" in texts


HOSTILE = {
    "t_ssti": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "does what templates may not"),
    "t_loop": (
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "takes longer than 1 s",
    ),
    "t_mem": ("{{ 'a' * 4000000000 }}", "needs more than 128 MB of memory"),
    "t_pow": ("{{ 9**(9**9) }}", "takes longer than 1 s"),
    "t_undefined": ("{{ nowhere.to.be.found }}", "reads what is not there ('nowhere' is undefined)"),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_29_hostile_templates(
    fault: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAULTS.md 29: exit 2, child killed. (That it stays below 300 MB: test_the_child_is_gone_and_was_small.)"""
    template, said = HOSTILE[fault]
    children, start = list[subprocess.Popen[bytes]](), sandbox._started

    def started() -> subprocess.Popen[bytes]:
        children.append(start())
        return children[-1]

    monkeypatch.setattr(sandbox, "_started", started)
    file = tmp_path / "chat.jinja"
    file.write_text(template)
    assert run(model, tmp_path, [chat("the sky"), chat("the sea")], f"--chat_template={file}") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error[2] {model}: the chat template {said}")
    assert last.endswith(": --chat_template FILE or --chat_template_kwargs")
    assert len(children) == 1 and children[0].poll() is not None
    assert not (tmp_path / "run").exists()
