"""Model directories that are wrong, damaged or hostile: each is refused by name, in one line, and nothing is run."""

import hashlib
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

import accord
from accord.cli import main
from accord.errors import AccordError, InputError, IntegrityError
from accord.models import directory
from accord.models.load import load_network, load_tokenizer, save

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS, LAYER_1 = "model.safetensors", "model.layers.1."
Damage = Callable[[Path], None]
Score = Callable[..., int]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models as strangers write them (`model`, and `adapter` of it) and as Accord does (`ours`), and data."""
    home = tmp_path_factory.mktemp("models")
    tiny.write_model(home / "model")
    save(tiny.llama(vocab_size=300), tiny.tokenizer(), home / "ours")
    pairs = tiny.comparisons(4)
    turns = [{"messages": [{"role": "user", "content": "cat ?"}, {"role": "assistant", "content": "yes"}]}] * 4
    for name, rows in {"pairs": pairs, "turns": turns, "texts": tiny.texts(8)}.items():
        (home / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    common: dict[str, Any] = {"max_steps": 1, "samples": 0, "report_to": ["none"], "data": home / "pairs.jsonl"}
    accord.dpo(model=home / "model", output_dir=home / "adapter", lora_r=2, learning_rate=1e-3, **common)
    return home


@pytest.fixture
def model(home: Path, tmp_path: Path) -> Path:
    """A copy of `model`, without a manifest, to be damaged."""
    shutil.copytree(home / "model", tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def score(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Score]:
    """score(directory, data="pairs"): the exit code of `accord logprobs`; a failure leaves one line and no file."""

    def run(place: Path, data: str = "pairs") -> int:
        output = tmp_path / "logprobs.jsonl"
        code = main(["logprobs", "--model", str(place), "--data", str(home / f"{data}.jsonl"), "--output", str(output)])
        assert output.exists() == (code == 0)
        return code

    yield run


def refusal(capsys: pytest.CaptureFixture[str], code: int) -> str:
    """The one line that a failure ends with."""
    lines = capsys.readouterr().err.strip().splitlines()
    found = [line for line in lines if line.startswith("error[")]
    assert len(found) == 1
    assert found == lines[-1:]
    assert found[0].startswith(f"error[{code}] ")
    return found[0]


def refused(place: Path) -> InputError:
    """What `load_tokenizer` or `load_network` says of a directory."""
    with pytest.raises(InputError) as caught:
        load_tokenizer(str(place))
        load_network(str(place))
    assert caught.value.fix
    return caught.value


def edit(path: Path, **changes: object) -> None:
    """Sets keys of a JSON file; None takes one out."""
    held = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in held.items() if value is not None}))


def reweigh(model: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(model / WEIGHTS)
    change(tensors)
    save_file(tensors, model / WEIGHTS, metadata={"format": "pt"})


# 19 to 25: models that do not fit together


def test_m_no_template(home: Path, model: Path, score: Score, capsys: pytest.CaptureFixture[str]) -> None:
    (model / "chat_template.jinja").unlink()
    assert score(model, "turns") == 2
    line = refusal(capsys, 2)
    assert str(model) in line
    assert "chat template" in line


def test_m_no_eos(model: Path, score: Score, capsys: pytest.CaptureFixture[str]) -> None:
    edit(model / "tokenizer_config.json", eos_token=None)
    assert score(model) == 2
    assert f"{model}/tokenizer_config.json: eos_token is not set: " in refusal(capsys, 2)


def test_m_vocab_mismatch(model: Path, score: Score, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.llama(vocab_size=200).save_pretrained(model)
    assert score(model) == 2
    line = refusal(capsys, 2)
    assert f"{model}/tokenizer.json: the tokenizer has " in line
    assert "the embedding 200 rows (vocab_size in config.json)" in line


def test_m_missing_tensor(model: Path, score: Score, capsys: pytest.CaptureFixture[str]) -> None:
    reweigh(model, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"))
    assert score(model) == 2
    assert f"{model / WEIGHTS}: 1 tensors are missing, the first model.layers.1.mlp.up_proj" in refusal(capsys, 2)


def test_weights_that_the_model_has_no_use_for_are_named(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A config with one layer less than the file has: a smaller model, and never without a word."""
    edit(model / "config.json", num_hidden_layers=1)
    load_network(str(model))
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        line == f"note: {model / WEIGHTS}: 9 tensors are not of this model, the first {LAYER_1}input_layernorm.weight"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_m_nan_tensor(model: Path, score: Score, capsys: pytest.CaptureFixture[str], value: float) -> None:
    reweigh(model, lambda tensors: tensors["model.layers.0.mlp.up_proj.weight"][1, 2].fill_(value))
    assert score(model) == 2
    assert f"{model / WEIGHTS}: model.layers.0.mlp.up_proj.weight: has values" in refusal(capsys, 2)


@pytest.mark.parametrize("command", ["score", "reward-bench"])
@pytest.mark.parametrize("kind", ["model", "adapter"])
def test_m_base_as_reward(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, kind: str
) -> None:
    output, place = tmp_path / "scores.jsonl", home / kind
    named = f"--{'output' if command == 'score' else 'scores'}={output}"
    assert main([command, f"--model={place}", f"--data={home / 'pairs.jsonl'}", named]) == 2
    line = refusal(capsys, 2)
    assert f"{place}: its score head is missing from the weights" in line and "accord reward" in line
    assert not output.exists()


WIDE = {"hidden_size": "wide"}
ABSURD: list[tuple[dict[str, Any], str]] = [
    ({"num_hidden_layers": -1}, "num_hidden_layers is -1"),
    ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
    ({"num_hidden_layers": 999}, "num_hidden_layers is 999, and the weights are 21 tensors"),
    ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
    ({"vocab_size": 2_000_000_000}, "vocab_size is 2000000000"),
    ({"vocab_size": 1e300}, "vocab_size is 1e+300"),
    ({"vocab_size": 9_000_000, "hidden_size": 900_000}, "its sizes make a model of "),
    ({"hidden_size": 10**300}, "hidden_size is beyond 1e15"),
    ({"intermediate_size": 2_000_000_000}, "intermediate_size is 2000000000"),
    ({"num_attention_heads": -4}, "num_attention_heads is -4"),
    ({"max_position_embeddings": 10**15}, "max_position_embeddings is "),
    ({"num_labels": 10**9}, "num_labels is 1000000000"),
    ({"text_config": {"vocab_size": 2_000_000_000}}, "text_config.vocab_size is 2000000000"),
    (WIDE, "hidden_size"),
]


@pytest.mark.parametrize(("key", "value"), [("num_hidden_layers", -1), ("vocab_size", 2_000_000_000)])
def test_m_config_absurd(model: Path, score: Score, capsys: pytest.CaptureFixture[str], key: str, value: int) -> None:
    """That little memory is taken, test_zip_bombs_and_absurd_configs_take_no_memory sees."""
    edit(model / "config.json", **{key: value})
    assert score(model) == 2
    assert f"{model}/config.json: {key} is {value}: " in refusal(capsys, 2)


@pytest.mark.parametrize(("changes", "said"), ABSURD, ids=lambda value: "-".join(value) if type(value) is dict else "")
def test_a_config_that_makes_no_model_names_the_key(model: Path, changes: dict[str, Any], said: str) -> None:
    edit(model / "config.json", **changes)
    error = refused(model)
    assert said in error.what
    assert error.where == f"{model}/config.json" or changes == WIDE


def test_the_sizes_of_every_architecture_that_we_know_are_allowed(tmp_path: Path) -> None:
    """A tied model's file holds fewer numbers than it has parameters; GPT-2 and T5 name their sizes otherwise."""
    for name, network in {"tied": tiny.llama(tie_word_embeddings=True), "gpt2": tiny.gpt2(), "t5": tiny.t5()}.items():
        network.save_pretrained(tmp_path / name)
        load_network(str(tmp_path / name))


# 26: what Accord wrote


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) * 3 // 4] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [truncate, flip])
def test_m_truncated_and_m_bitflip(
    home: Path, tmp_path: Path, score: Score, capsys: pytest.CaptureFixture[str], damage: Damage
) -> None:
    shutil.copytree(home / "ours", tmp_path / "ours")
    assert score(tmp_path / "ours") == 0
    (tmp_path / "logprobs.jsonl").unlink()
    capsys.readouterr()
    damage(tmp_path / "ours" / WEIGHTS)
    assert score(tmp_path / "ours") == 6
    line = refusal(capsys, 6)
    assert str(tmp_path / "ours" / WEIGHTS) in line
    assert line.endswith(f"if that was changed on purpose, remove {tmp_path}/ours/MANIFEST.json")


@pytest.mark.parametrize("which", ["ours", "adapter"])
@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink], ids=["truncate", "flip", "missing"])
def test_every_file_that_was_written_counts(home: Path, tmp_path: Path, which: str, damage: Damage) -> None:
    names = json.loads((home / which / "MANIFEST.json").read_text())["files"]
    assert {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"} < set(names)
    kinds = {"ours": ("config.json", WEIGHTS), "adapter": ("adapter_config.json", "adapter_model.safetensors")}
    assert set(kinds[which]) < set(names)
    for name in [*names, "MANIFEST.json"]:
        if name in ("MANIFEST.json", kinds[which][0]) and damage is Path.unlink:
            continue  # without a manifest nothing is promised, and without a config it is no model
        place = tmp_path / name.replace(".", "-")
        shutil.copytree(home / which, place)
        damage(place / name)
        with pytest.raises(IntegrityError) as caught:
            load_tokenizer(str(place))
            load_network(str(place))
        assert str(place / name) in caught.value.where


def test_every_model_directory_of_ours_has_a_manifest(home: Path, tmp_path: Path) -> None:
    """init, a stage, an adapter, merge: all that stock loaders read is in it, with the sha256 of `sha256sum`."""
    quick: dict[str, Any] = {"max_steps": 1, "samples": 0, "report_to": ["none"], "data": home / "texts.jsonl"}
    accord.init(
        data=home / "texts.jsonl", output_dir=tmp_path / "new", vocab_size=300, hidden_size=16, layers=1, heads=2
    )
    accord.pretrain(model=tmp_path / "new", output_dir=tmp_path / "base", **quick)
    accord.pretrain(model=tmp_path / "base", output_dir=tmp_path / "lora", lora_r=2, **quick)
    accord.merge(adapter=tmp_path / "lora", output_dir=tmp_path / "merged")
    for name in ("new", "base", "lora", "merged"):
        files = json.loads((tmp_path / name / "MANIFEST.json").read_text())["files"]
        for file, entry in files.items():
            data = (tmp_path / name / file).read_bytes()
            assert entry == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        loadable = {path.name for path in directory.entries(tmp_path / name)}
        run_files = {"run.json", "trackers.json", "MANIFEST.json"}
        assert loadable - run_files == set(files)
        load_tokenizer(str(tmp_path / name))
        load_network(str(tmp_path / name))


def test_what_was_changed_on_purpose_can_be_accepted(
    home: Path, tmp_path: Path, score: Score, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(home / "ours", tmp_path / "ours")
    template = tmp_path / "ours" / "chat_template.jinja"
    template.write_text(template.read_text() + "{# ours #}")
    assert score(tmp_path / "ours") == 6
    assert str(template) in refusal(capsys, 6)
    (tmp_path / "ours" / "MANIFEST.json").unlink()
    assert score(tmp_path / "ours") == 0


def test_weights_that_were_put_beside_ours_are_not_taken_for_them(home: Path, tmp_path: Path) -> None:
    """transformers reads model.safetensors where there is one, and not the parts that the manifest speaks of."""
    tiny.llama(vocab_size=300).save_pretrained(tmp_path / "ours", max_shard_size="20KB")
    tiny.tokenizer().save_pretrained(tmp_path / "ours")
    from accord.models import manifest

    manifest.write(tmp_path / "ours", [path.name for path in (tmp_path / "ours").iterdir()], {})
    load_network(str(tmp_path / "ours"))
    shutil.copy(home / "model" / WEIGHTS, tmp_path / "ours")
    with pytest.raises(IntegrityError, match=f"{WEIGHTS}: weights that were not written with the model"):
        load_network(str(tmp_path / "ours"))


def test_a_save_that_is_killed_is_never_taken_for_a_model(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over another model: after every number of moves it is the old one, the new one, or refused."""
    move, left = os.replace, [0]

    def lethal(*paths: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        move(*paths)

    monkeypatch.setattr(os, "replace", lethal)
    other = tiny.llama(vocab_size=300, seed=1)
    marks = {
        name: network.lm_head.weight[0, 0].item()
        for name, network in (("old", tiny.llama(vocab_size=300)), ("new", other))
    }
    outcomes = []
    for moves in range(100):
        place = tmp_path / str(moves)
        shutil.copytree(home / "ours", place)
        left[0] = moves
        try:
            save(other, tiny.tokenizer(), place)
        except KeyboardInterrupt:
            pass
        try:
            mark = load_network(str(place)).lm_head.weight[0, 0].item()
            outcomes.append(next(name for name, one in marks.items() if one == mark))
        except IntegrityError:
            outcomes.append("refused")
        if left[0] >= 0:
            break
    assert outcomes[0] == "old"
    assert outcomes[-1] == "new"
    changed = outcomes.index("new")
    assert set(outcomes[1:changed]) == {"refused"}
    assert set(outcomes[changed:]) == {"new"}  # the tokenizer is the same


@pytest.mark.parametrize("damage", [truncate, lambda path: path.write_bytes(b"")], ids=["truncated", "empty"])
def test_damaged_weights_of_a_stranger_are_named(
    model: Path, score: Score, capsys: pytest.CaptureFixture[str], damage: Damage
) -> None:
    damage(model / WEIGHTS)
    assert score(model) == 2
    assert f"{model / WEIGHTS}: not whole" in refusal(capsys, 2)


def test_a_pointer_of_git_lfs_is_known(model: Path) -> None:
    (model / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    assert "a pointer of Git LFS (git lfs pull" in refused(model).what


def test_a_header_of_a_terabyte_is_not_read(model: Path, score: Score, capsys: pytest.CaptureFixture[str]) -> None:
    (model / WEIGHTS).write_bytes(struct.pack("<Q", 10**12) + b"{}")
    assert score(model) == 2
    assert f"{model / WEIGHTS}: not whole: its header would have 1000000000000 bytes" in refusal(capsys, 2)


def test_a_wrong_shape_names_the_tensor(model: Path, score: Score, capsys: pytest.CaptureFixture[str]) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    reweigh(model, lambda tensors: tensors.update({name: torch.zeros(48, 31)}))
    assert score(model) == 2
    line = refusal(capsys, 2)
    assert str(model) in line
    assert name in line


# 27: code


class Payload:
    """What a pickle of it does when it is loaded: makes the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


class Terminal:
    """Standard input that must not be read."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 0

    def readline(self, *_: object) -> str:
        raise AssertionError("standard input was read")

    read = readline


@pytest.mark.parametrize("how", ["zip", "plain", "named safetensors", "adapter"])
def test_m_pickle(
    home: Path, model: Path, tmp_path: Path, score: Score, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    canary = tmp_path / "canary"
    payload = tmp_path / "payload"
    if how == "plain":
        payload.write_bytes(pickle.dumps({"w": Payload(canary)}))
    else:
        torch.save({"w": Payload(canary)}, payload)
    if how == "adapter":
        shutil.copytree(home / "adapter", tmp_path / "adapter")
        model = tmp_path / "adapter"
        (model / "MANIFEST.json").unlink()
    weights = "adapter_model" if how == "adapter" else "model"
    (model / f"{weights}.safetensors").unlink()
    names = {"named safetensors": WEIGHTS, "adapter": "adapter_model.bin"}
    target = model / names.get(how, "pytorch_model.bin")
    shutil.copy(payload, target)
    assert score(model) == 2
    line = refusal(capsys, 2)
    assert f"{target}: " in line
    assert ("not safetensors but a zip archive" if how == "named safetensors" else "pickled weights") in line
    assert "weights_only" not in line
    assert not canary.exists()
    with payload.open("rb") as file:  # it is a live one
        (torch.load(file, weights_only=False) if how != "plain" else pickle.load(file))
    assert canary.exists()


@pytest.mark.parametrize("where", ["config.json", "tokenizer_config.json"])
def test_m_auto_map(
    model: Path,
    tmp_path: Path,
    score: Score,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    canary = tmp_path / "canary"
    (model / "evil.py").write_text(f"import os\nos.mkdir({str(canary)!r})\n")
    classes = {key: "evil.Evil" for key in ("AutoConfig", "AutoModelForCausalLM")}
    tokenizers = {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    of_config = where == "config.json"
    edit(
        model / where,
        auto_map=classes if of_config else tokenizers,
        **({"model_type": "evil"} if of_config else {"tokenizer_class": "Evil"}),
    )
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert score(model) == 2
    assert str(model) in refusal(capsys, 2)
    assert not canary.exists()


def test_a_known_architecture_is_loaded_without_the_code_beside_it(
    model: Path, tmp_path: Path, score: Score, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    (model / "evil.py").write_text(f"import os\nos.mkdir({str(canary)!r})\n")
    edit(model / "config.json", auto_map={"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"})
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert score(model) == 0
    assert not canary.exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"attn_implementation": "evil/kernel"}, "attn_implementation is 'evil/kernel': code that would be fetched"),
        ({"_attn_implementation": "evil/kernel"}, "_attn_implementation is 'evil/kernel'"),
        ({"experts_implementation": {"": "evil/kernel"}}, "experts_implementation. is 'evil/kernel'"),
        ({"transformers_weights": "sub/model.safetensors"}, "transformers_weights names another file"),
    ],
    ids=["attention", "private", "experts", "weights"],
)
def test_a_config_fetches_no_code_and_names_no_weights(model: Path, changes: dict[str, Any], said: str) -> None:
    edit(model / "config.json", **changes)
    assert str(refused(model)).startswith(f"{model / 'config.json'}: {said}")


def test_an_adapter_imports_no_module(home: Path, tmp_path: Path) -> None:
    """peft imports the module that `megatron_core` names, where there is a `megatron_config`."""
    shutil.copytree(home / "adapter", tmp_path / "adapter")
    (tmp_path / "adapter" / "MANIFEST.json").unlink()
    edit(tmp_path / "adapter" / "adapter_config.json", megatron_config={"a": 1}, megatron_core="antigravity")
    with pytest.raises(InputError, match="megatron_config names code"):
        load_network(str(tmp_path / "adapter"))
    assert "antigravity" not in sys.modules


# 28: what leads elsewhere, and archives


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "chat_template.jinja", WEIGHTS])
def test_m_symlink_out(home: Path, model: Path, score: Score, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """The link leads to a file that would do, had it been read."""
    (model / name).unlink()
    (model / name).symlink_to(home / "model" / name)
    assert score(model) == 2
    assert f"{model / name}: a link that leads out of the model directory" in refusal(capsys, 2)


def test_a_folder_of_templates_is_looked_at_too(home: Path, tmp_path: Path) -> None:
    """Several templates are written into a folder beside the model, and read from there: it is no way out either."""
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = {"default": tokenizer.chat_template, "tool": "{# tool #}"}
    for _ in range(2):  # over another model, too
        written = save(tiny.llama(vocab_size=300), tokenizer, tmp_path / "model")
    assert "additional_chat_templates/tool.jinja" in written
    assert load_tokenizer(str(tmp_path / "model")).chat_template == tokenizer.chat_template
    templates = tmp_path / "model" / "additional_chat_templates"
    flip(templates / "tool.jinja")
    with pytest.raises(IntegrityError, match=r"additional_chat_templates/tool.jinja: not the bytes"):
        load_tokenizer(str(tmp_path / "model"))
    templates.rename(tmp_path / "elsewhere")
    templates.symlink_to(tmp_path / "elsewhere")
    assert refused(tmp_path / "model").what.startswith("a link that leads out of the model directory")


def test_an_adapter_is_looked_at_in_the_same_way(home: Path, tmp_path: Path) -> None:
    for name in ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json"):
        place = tmp_path / name
        shutil.copytree(home / "adapter", place)
        (place / name).unlink()
        (place / name).symlink_to(home / "adapter" / name)
        with pytest.raises(InputError, match="a link that leads out of the model directory") as caught:
            load_network(str(place))
        assert caught.value.where == str(place / name)


def test_links_within_the_directory_and_within_the_hub_s_cache_are_followed(home: Path, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    shutil.copytree(home / "ours", inside)
    (inside / WEIGHTS).rename(inside / "kept")
    (inside / WEIGHTS).symlink_to("kept")
    load_network(str(inside))
    snapshot = tmp_path / "models--someone--model" / "snapshots" / "0123abcd"
    blobs = tmp_path / "models--someone--model" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in (home / "ours").iterdir():
        shutil.copy(path, blobs / path.name.upper())
        (snapshot / path.name).symlink_to(Path("../../blobs") / path.name.upper())
    load_tokenizer(str(snapshot))
    load_network(str(snapshot))
    (tmp_path / "latest").symlink_to(inside)  # the directory itself may have any name
    load_network(str(tmp_path / "latest"))
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(home / "ours" / "config.json")
    with pytest.raises(InputError, match="a link that leads out"):
        load_network(str(snapshot))


@pytest.mark.parametrize("name", ["generation_config.json", "vocab.txt"])
def test_what_is_no_plain_file_is_not_opened(model: Path, name: str) -> None:
    """A pipe would be waited for without end."""
    (model / name).unlink(missing_ok=True)
    os.mkfifo(model / name)
    with pytest.raises(InputError, match="not a plain file") as caught:
        load_tokenizer(str(model))
    assert caught.value.where == str(model / name)


def indexed(model: Path, target: object) -> Path:
    """The weights are moved out, and an index says that they are in `target`."""
    outside = model.parent / "outside.safetensors"
    (model / WEIGHTS).rename(outside)
    index = model / f"{WEIGHTS}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(load_file(outside), target)}))
    return index


def test_m_index_traversal(model: Path, score: Score, capsys: pytest.CaptureFixture[str]) -> None:
    """The file that is named would do, had it been read."""
    index = indexed(model, "../outside.safetensors")
    assert score(model) == 2
    line = refusal(capsys, 2)
    assert f"{index}: weight_map: " in line
    assert "'../outside.safetensors', which is no safetensors file of this directory" in line


@pytest.mark.parametrize("target", ["{}/outside.safetensors", "sub/x.safetensors", "x.bin", "", "..", 7, None])
def test_an_index_names_only_files_beside_it(model: Path, target: object) -> None:
    target = target.format(model.parent) if isinstance(target, str) else target
    index = indexed(model, target)
    error = refused(model)
    assert error.where == str(index)
    assert repr(target) in error.what


@pytest.mark.parametrize(
    ("file", "key"), [("tokenizer_config.json", "fast_tokenizer_files"), ("config.json", "configuration_files")]
)
def test_no_file_names_others_elsewhere(model: Path, file: str, key: str) -> None:
    """transformers takes such a list by version, as tokenizer.4.0.0.json, and opens what it names."""
    edit(model / file, **{key: ["../tokenizer.1.0.0.json", "../config.1.0.0.json"]})
    assert str(refused(model)).startswith(f"{model / file}: {key} names '../tokenizer.1.0.0.json', elsewhere")


def slip(path: Path, canary: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"../{canary}", "out")
        archive.writestr(canary, "in")


ARCHIVED = ["model.zip", "data.jsonl", "data.zip", WEIGHTS, "config.json", "tokenizer.json", "chat_template.jinja"]


@pytest.mark.parametrize("name", ARCHIVED)
def test_m_zip_slip(home: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    of_data, is_model = name.startswith("data"), name == "model.zip"
    path = tmp_path / name if of_data or is_model else model / name
    slip(path, "canary")
    before = {found for found in tmp_path.rglob("*")}
    data = path if of_data else home / "turns.jsonl"
    words = ["--model", path if is_model else model, "--data", data, "--output", tmp_path / "logprobs.jsonl"]
    assert main(["logprobs", *map(str, words)]) == 2
    line = refusal(capsys, 2)
    assert str(path.parent if path.parent == model else path) in line
    assert {found for found in tmp_path.rglob("*")} == before


BOUNDED = """
import json, pathlib, resource, sys, zipfile
sys.path.insert(0, {tests!r})
import tiny
from accord.cli import main
from accord.errors import AccordError
from accord.models.load import load_network, load_tokenizer

home, place = pathlib.Path({home!r}), pathlib.Path({place!r})
model, output = place / "model", place / "out.jsonl"

def tell(code):
    print(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, flush=True)

def score(**changes):
    words = dict(model=home / "model", data=home / "pairs.jsonl", output=output) | changes
    tell(main(["logprobs", *(f"--{{key}}={{value}}" for key, value in words.items())]))
    output.unlink(missing_ok=True)

def load():
    try:
        load_tokenizer(str(model))
        load_network(str(model))
        tell(0)
    except AccordError as error:
        tell(error.code)

score()
exact = (model / "config.json").read_text()
for changes in {absurd!r}:
    (model / "config.json").write_text(json.dumps(json.loads(exact) | changes))
    load()
(model / "config.json").write_text(exact)
with zipfile.ZipFile(place / "bomb.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
    with archive.open("x", "w") as file:
        for _ in range(200):
            file.write(bytes(1 << 20))
(place / "bomb.jsonl").write_bytes(bomb := (place / "bomb.zip").read_bytes())
for file in ("bomb.zip", "bomb.jsonl"):
    score(data=place / file)
score(model=place / "bomb.zip")
for name in ("model.safetensors", "config.json", "tokenizer.json"):
    kept = (model / name).read_bytes()
    (model / name).write_bytes(bomb)
    load()
    (model / name).write_bytes(kept)
for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
    kept = (model / name).read_bytes()
    with (model / name).open("wb") as file:
        file.truncate(2 << 30)
    load()
    (model / name).write_bytes(kept)
load()
"""


def test_zip_bombs_and_absurd_configs_take_no_memory(home: Path, model: Path, tmp_path: Path) -> None:
    """m_zip_bomb, m_config_absurd: in one process, whose largest memory (MB) is seen after each.

    A good model comes first, and the one that was damaged, mended, last.
    """
    absurd = [changes for changes, _ in ABSURD]
    script = BOUNDED.format(tests=str(ROOT / "tests"), home=str(home), place=str(tmp_path), absurd=absurd)
    seen = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert seen.returncode == 0, seen.stderr
    (first, before), *rest, (last, _) = [map(int, line.split()) for line in seen.stdout.splitlines()]
    codes, memory = zip(*rest, strict=True)
    assert (first, last) == (0, 0)
    assert codes == (2,) * (len(ABSURD) + 10)
    assert max(memory) < before + 100, seen.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"model", "bomb.zip", "bomb.jsonl"}


def test_errors_are_ours(model: Path) -> None:
    """Bytes of every kind in every file that is read: refused, and never a traceback."""
    for name in ("config.json", "tokenizer_config.json", "tokenizer.json", "generation_config.json", WEIGHTS):
        kept = (model / name).read_bytes() if (model / name).exists() else None
        for data in (b"", b"[]", b"{", b'{"a":' * 100_000, b"\xff\xfe", b"null", b"1" * 5000, bytes(64)):
            (model / name).write_bytes(data)
            try:
                load_tokenizer(str(model))
                load_network(str(model))
            except AccordError as error:
                assert error.code == 2
        (model / name).unlink() if kept is None else (model / name).write_bytes(kept)
