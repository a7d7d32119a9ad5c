"""`accord perplexity`: every number against stock transformers, sliding windows, several models, bad inputs."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import tiny
import torch
from stage_runs import lines, loaded, write_lines

import accord
from accord.cli import main
from accord.data.sliding import Window, windows

TEXT = "the cat sat on a mat — and dogs ran far in rain 🐈 while birds sang well\nthe café was far\n" * 3
Rows = list[dict[str, Any]]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def table(command: Sequence[object], where: Path) -> Rows:
    """Runs `accord perplexity` with these words and gives its JSON."""
    assert main(["perplexity", *map(str, command), "--json", str(where)]) == 0
    found: Rows = json.loads(where.read_text())
    return found


def refused(capsys: pytest.CaptureFixture[str], *command: object) -> str:
    """The last line of a command that ends with 2."""
    assert main(["perplexity", *map(str, command)]) == 2
    return capsys.readouterr().err.splitlines()[-1]


@torch.no_grad()
def stock_nats(network: Any, ids: Sequence[int], scored: slice) -> float:
    """-log p of these places of one row, by stock transformers alone."""
    logp = network(torch.tensor([list(ids)])).logits[0].float().log_softmax(-1)
    return -sum(float(logp[place - 1, ids[place]]) for place in range(*scored.indices(len(ids))))


def test_windows_by_hand() -> None:
    assert list(windows(10, 1, 4, 2)) == [Window(0, 1, 4), Window(2, 4, 6), Window(4, 6, 8), Window(6, 8, 10)]
    assert list(windows(9, 0, 4, 3)) == [Window(0, 0, 4), Window(3, 4, 7), Window(6, 7, 9)]
    assert list(windows(4, 1, 4, 2)) == [Window(0, 1, 4)] and list(windows(1, 1, 4, 2)) == []


def test_a_short_text_is_what_stock_says(workshop: Path, text: Path, tmp_path: Path) -> None:
    (row,) = table(["--model", workshop / "model", "--data", text], tmp_path / "t.json")
    network, tokenizer = loaded(workshop / "model")
    ids = tokenizer(TEXT).input_ids
    nats = stock_nats(network, ids, slice(1, None))
    assert row["tokens"] == len(ids) - 1  # there is no BOS, and no EOS is predicted
    assert row["nats_per_token"]["mean"] == pytest.approx(nats / (len(ids) - 1), rel=1e-5)
    assert row["perplexity"] == pytest.approx(math.exp(nats / (len(ids) - 1)), rel=1e-4)
    assert row["bits_per_token"] == pytest.approx(nats / (len(ids) - 1) / math.log(2), rel=1e-5)
    first = len(tokenizer.decode(ids[:1]))
    assert row["bytes"] == len(TEXT.encode()) - first and row["characters"] == len(TEXT) - first
    assert row["bits_per_byte"]["mean"] == pytest.approx(nats / math.log(2) / row["bytes"], rel=1e-5)
    assert row["clusters"] == 1 and row["nats_per_token"]["interval"] == [None, None]


def test_a_long_text_slides(workshop: Path, text: Path, tmp_path: Path) -> None:
    """Each token in the first window that reaches it: the windows begin every 5 tokens."""
    words = ["--model", workshop / "model", "--data", text, "--max_length", 16, "--stride", 5]
    (row,) = table(words, tmp_path / "t.json")
    network, tokenizer = loaded(workshop / "model")
    ids = tokenizer(TEXT).input_ids
    nats = 0.0
    for token in range(1, len(ids)):
        begin = next(begin for begin in range(0, len(ids), 5) if begin + 16 > token)
        nats += stock_nats(network, ids[begin : token + 1], slice(token - begin, None))
    assert row["tokens"] == len(ids) - 1 and row["stride"] == 5
    assert row["nats_per_token"]["mean"] == pytest.approx(nats / (len(ids) - 1), rel=1e-5)


def with_bos(workshop: Path, place: Path, *, puts: bool) -> Path:
    """The model with <|im_start|> for its BOS. puts: the tokenizer puts it before every text by itself."""
    from tokenizers.processors import TemplateProcessing

    network, tokenizer = loaded(workshop / "model")
    start = tokenizer.convert_tokens_to_ids("<|im_start|>")
    tokenizer.bos_token = "<|im_start|>"
    if puts:
        processor = TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", start)])
        tokenizer.backend_tokenizer.post_processor = processor
    network.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


@pytest.mark.parametrize("puts", [False, True])
def test_bos_stands_before_every_window(workshop: Path, text: Path, tmp_path: Path, puts: bool) -> None:
    place = with_bos(workshop, tmp_path / "model", puts=puts)
    (row,) = table(["--model", place, "--data", text, "--max_length", 17, "--stride", 16], tmp_path / "t.json")
    network, tokenizer = loaded(place)
    ids = tokenizer(TEXT, add_special_tokens=False).input_ids
    nats = sum(
        stock_nats(network, [tokenizer.bos_token_id, *ids[start : start + 16]], slice(1, None))
        for start in range(0, len(ids), 16)
    )
    assert row["tokens"] == len(ids) and row["bytes"] == len(TEXT.encode())
    assert row["nats_per_token"]["mean"] == pytest.approx(nats / len(ids), rel=1e-5)


def test_eos_before_and_behind(workshop: Path, text: Path, tmp_path: Path) -> None:
    words = ["--model", workshop / "model", "--data", text, "--first", "eos", "--ends"]
    (row,) = table(words, tmp_path / "t.json")
    network, tokenizer = loaded(workshop / "model")
    ids = [tokenizer.eos_token_id, *tokenizer(TEXT).input_ids, tokenizer.eos_token_id]
    assert row["nats_per_token"]["mean"] == pytest.approx(
        stock_nats(network, ids, slice(1, None)) / (len(ids) - 1), rel=1e-5
    )
    assert row["bytes"] == len(TEXT.encode())


def test_lines_are_documents_and_each_has_a_row(workshop: Path, tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("\ufeff" + "".join(tiny.sentence(i, 6 + i % 9) + "\r\n\n" for i in range(40)), encoding="utf-8")
    out = tmp_path / "rows.jsonl"
    words = ["--model", workshop / "model", "--data", path, "--unit", "line", "--output", out]
    (row,) = table(words, tmp_path / "t.json")
    network, tokenizer = loaded(workshop / "model")
    found = lines(out)
    assert [one["source"] for one in found[:2]] == [f"{path}:1", f"{path}:3"] and len(found) == 40
    for i in (0, 7):
        ids = tokenizer(tiny.sentence(i, 6 + i % 9)).input_ids
        assert found[i]["tokens"] == len(ids) - 1
        assert found[i]["nats"] == pytest.approx(stock_nats(network, ids, slice(1, None)), rel=1e-5)
    nats, tokens = (np.array([one[key] for one in found]) for key in ("nats", "tokens"))
    mean = nats.sum() / tokens.sum()
    error = math.sqrt(40 / 39 * ((nats - mean * tokens) ** 2).sum()) / tokens.sum()
    assert row["clustered_by"] == "documents" and row["clusters"] == 40
    assert row["nats_per_token"]["standard_error"] == pytest.approx(error, rel=1e-6)
    ends = (mean - 2.0226909 * error, mean + 2.0226909 * error)
    assert row["perplexity_interval"] == pytest.approx([math.exp(end) for end in ends], rel=1e-6)


def test_blocks_hold_what_the_text_holds(workshop: Path, text: Path, tmp_path: Path) -> None:
    whole = table(["--model", workshop / "model", "--data", text], tmp_path / "a.json")[0]
    cut = table(["--model", workshop / "model", "--data", text, "--block", 40], tmp_path / "b.json")[0]
    assert cut["clusters"] == round(len(TEXT) / 40) and cut["clustered_by"] == "blocks of about 40 characters"
    for key in ("tokens", "bytes", "characters"):
        assert cut[key] == whole[key]
    assert cut["bits_per_byte"]["mean"] == pytest.approx(whole["bits_per_byte"]["mean"], rel=1e-9)
    low, high = cut["bits_per_byte"]["interval"]
    assert low < cut["bits_per_byte"]["mean"] < high


def test_models_are_compared_on_the_same_blocks(workshop: Path, text: Path, tmp_path: Path, capsys: Any) -> None:
    data = write_lines(tmp_path / "texts.jsonl", tiny.texts(35))
    out, markdown = tmp_path / "rows.jsonl", tmp_path / "t.md"
    models = f"{workshop / 'model'},{workshop / 'other'}"
    rows = table(["--model", models, "--data", data, "--output", out, "--markdown", markdown], tmp_path / "t.json")
    assert "difference" not in rows[0]
    difference = rows[1]["difference"]
    found = lines(out)
    one, other = ([row for row in found if row["model"] == str(workshop / name)] for name in ("model", "other"))
    assert [row["id"] for row in one] == [row["id"] for row in other]
    bits = [np.array([row["nats"] / math.log(2) for row in rows]) for rows in (one, other)]
    size = np.array([row["bytes"] for row in one])
    gap = (bits[1] - bits[0]).sum() / size.sum()
    error = math.sqrt(35 / 34 * ((bits[1] - bits[0] - gap * size) ** 2).sum()) / size.sum()
    assert difference["bits_per_byte"]["mean"] == pytest.approx(gap, rel=1e-6)
    assert difference["bits_per_byte"]["standard_error"] == pytest.approx(error, rel=1e-6)
    same = rows[1]["nats_per_token"]["mean"] - rows[0]["nats_per_token"]["mean"]
    assert difference["nats_per_token"]["mean"] == pytest.approx(same, rel=1e-6)
    assert main(["perplexity", "--model", models, "--data", str(data)]) == 0
    printed = capsys.readouterr()
    assert "clustered by 35 documents" in printed.out and "bits/byte" in printed.out
    assert "| model | perplexity |" in markdown.read_text()


def test_other_tokens_are_compared_by_byte_alone(workshop: Path, text: Path, tmp_path: Path) -> None:
    from accord.models.pocket import train_tokenizer

    place = tmp_path / "coarse"
    tiny.llama(vocab_size=300, seed=3).save_pretrained(place)
    train_tokenizer([], 300).save_pretrained(place)  # bytes alone
    models = f"{workshop / 'model'},{place}"
    rows = table(["--model", models, "--data", text, "--block", 40, "--first", "eos"], tmp_path / "t.json")
    assert rows[0]["tokens"] < rows[1]["tokens"] and rows[0]["bytes"] == rows[1]["bytes"]
    difference = rows[1]["difference"]
    assert difference["nats_per_token"] is None
    gap = rows[1]["bits_per_byte"]["mean"] - rows[0]["bits_per_byte"]["mean"]
    assert difference["bits_per_byte"]["mean"] == pytest.approx(gap, rel=1e-9)


def test_an_adapter_is_the_model_with_it(workshop: Path, text: Path, tmp_path: Path) -> None:
    network, tokenizer = loaded(workshop / "model")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
        adapted = peft.get_peft_model(network, config)
    adapted.peft_config["default"].base_model_name_or_path = str(workshop / "model")
    adapted.save_pretrained(tmp_path / "adapter")
    (row,) = table(["--model", tmp_path / "adapter", "--data", text], tmp_path / "t.json")
    ids = tokenizer(TEXT).input_ids
    nats = stock_nats(adapted.eval(), ids, slice(1, None))
    assert row["nats_per_token"]["mean"] == pytest.approx(nats / (len(ids) - 1), rel=1e-5)


def test_conversations_and_folders_of_texts_are_read(workshop: Path, text: Path, tmp_path: Path) -> None:
    (row,) = table(["--model", workshop / "model", "--data", workshop / "chats.jsonl"], tmp_path / "a.json")
    assert row["documents"] == 12 and row["tokens"] > 12 * 3
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("b.txt", "a.txt", ".hidden.txt"):
        (folder / name).write_text(name)
    (row,) = table(["--model", workshop / "model", "--data", folder], tmp_path / "b.json")
    assert row["documents"] == 2


def test_python_passes_objects_and_lists(workshop: Path) -> None:
    network, tokenizer = loaded(workshop / "model")
    rows = tiny.texts(3)
    found = accord.perplexity(model=network, tokenizer=tokenizer, data=rows).rows()
    names = accord.perplexity(model=[str(workshop / "model"), workshop / "other"], data=rows).rows()
    assert found[0]["perplexity"] == pytest.approx(names[0]["perplexity"], rel=1e-5)
    assert [row["model"] for row in names] == [str(workshop / "model"), str(workshop / "other")]


def test_bad_inputs_are_one_line(
    workshop: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", workshop / "model", "--data"]
    latin, empty = tmp_path / "latin.txt", tmp_path / "empty.txt"
    latin.write_bytes(b"fine\ncaf\xe9\n")
    empty.write_text(" \n")
    assert f"{latin}:2: not UTF-8" in refused(capsys, *model, latin)
    assert f"{empty}: holds no text" in refused(capsys, *model, empty)
    assert "none.txt: cannot be read" in refused(capsys, *model, tmp_path / "none.txt")
    assert "is the data that is read" in refused(capsys, *model, text, "--markdown", text)
    assert "stride: 8 is too much for windows of 8" in refused(capsys, *model, text, "--max_length", 8, "--stride", 8)
    assert "first: bos, and the tokenizer has none" in refused(capsys, *model, text, "--first", "bos")
    assert "names one model twice" in refused(capsys, "--model", "a,a", "--data", text)
    encoder = tiny.write_model(tmp_path / "t5", tiny.t5(vocab_size=300))
    assert "has an encoder" in refused(capsys, "--model", encoder, "--data", text)
    prompts = write_lines(tmp_path / "prompts.jsonl", [{"prompt": "the cat"}])
    assert "prompts.jsonl:1" in refused(capsys, *model, prompts)


def test_a_text_of_one_token_has_nothing_to_predict(workshop: Path, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "one.txt"
    path.write_text("a")
    line = refused(capsys, "--model", workshop / "model", "--data", path)
    assert "no document has a token to predict" in line and "--first eos" in line
