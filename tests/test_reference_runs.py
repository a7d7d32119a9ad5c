"""Runs that share one reference: what is computed again and what is not, counted in groups that go through it."""

import json
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load, load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import accord
from accord.cli import main
from accord.models.load import load_network
from accord.models.logprobs import LanguageModel
from accord.models.reference import reference_logprobs
from accord.models.sealed import read
from accord.models.store import Store
from accord.stages import caches, score_all
from accord.stages.commands import call
from accord.training.optimizer import Weights
from accord.training.run import RunFolder

ROWS = tiny.comparisons(12)
QUICK: dict[str, Any] = {
    "samples": 0, "report_to": "none", "logging_steps": 1, "batch_size": 4, "max_tokens": 300, "max_steps": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model, and adapter: a trained one on it."""
    home = tmp_path_factory.mktemp("home")
    tiny.write_model(home / "model")
    how = {**QUICK, "max_steps": 2, "learning_rate": 1e-2, "warmup_steps": 0, "lora_r": 2, "reference_cache": "none"}
    accord.dpo(model=home / "model", data=ROWS, output_dir=home / "adapter", **how)
    return home


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACCORD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Groups of every pass of a reference."""
    counted: list[int] = []

    def pass_over(model: LanguageModel, groups: Any, **how: Any) -> Any:
        counted.append(len(groups))
        return reference_logprobs(model, groups, **how)

    monkeypatch.setattr(score_all, "reference_logprobs", pass_over)
    return counted


@pytest.fixture(autouse=True)
def without_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than all else in so small a run."""
    monkeypatch.setattr(RunFolder, "draw_curves", lambda *given: None)


Dpo = Callable[..., Any]


@pytest.fixture
def dpo(home: Path, tmp_path: Path, cache: Path) -> Dpo:
    """A quick run in a folder of its own."""
    runs: list[Path] = []

    def dpo(**options: Any) -> Any:
        runs.append(tmp_path / f"run{len(runs)}")
        usual = {**QUICK, "model": home / "model", "data": ROWS, "output_dir": runs[-1]}
        return accord.dpo(**{**usual, **options})

    return dpo


def kept(result: Any) -> torch.Tensor:
    """(N,) the values in a run's folder."""
    return load_file(result.output_dir / "reference.safetensors")["token"]


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": 0.1, "lr_scheduler_type": "cosine", "optimizer": "sgd"},
        {"beta": 0.7},
        {"loss_type": "ipo"},
        {"loss_type": "exo_pair", "label_smoothing": 0.1},
        {"seed": 5, "shuffle": False, "max_steps": 2},
        {"batch_size": 3, "max_tokens": 50, "layout": "rows"},
        {"lora_r": 2},
        {"lora_r": 4, "lora_alpha": 64, "use_dora": True, "seed": 3},
        {"validation": 0.3},
    ],
    ids=str,
)
def test_the_same_reference_is_computed_once(dpo: Dpo, passes: list[int], options: dict[str, Any]) -> None:
    first = dpo()
    again = dpo(**options)
    assert passes == [12]
    if "validation" not in options:  # which has its groups in another order
        assert torch.equal(kept(first), kept(again))


def test_a_sweep_of_8_runs_pays_for_one_pass(dpo: Dpo, passes: list[int]) -> None:
    losses = [dpo(learning_rate=lr, beta=beta).metrics["loss"] for lr in (1e-5, 1e-4, 1e-3, 1e-2) for beta in (0.1, 1)]
    assert passes == [12]
    assert losses == pytest.approx([math.log(2)] * 8, abs=1e-5)


def changed_weight(directory: Path) -> None:
    network = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    network.model.norm.weight.data[3] += 1e-3
    network.save_pretrained(directory)


def changed_base(directory: Path) -> None:
    file = directory / "config.json"
    config = json.loads(file.read_text())
    config["rope_parameters"]["rope_theta"] = 500.0
    file.write_text(json.dumps(config))


@pytest.mark.parametrize("change", [changed_weight, changed_base])
def test_another_weight_or_config_under_the_same_name_is_another_reference(
    home: Path, tmp_path: Path, dpo: Dpo, passes: list[int], change: Callable[[Path], None]
) -> None:
    model = shutil.copytree(home / "model", tmp_path / "model")
    first = dpo(model=model)
    change(model)
    second = dpo(model=model)
    assert passes == [12, 12]
    assert not torch.equal(kept(first), kept(second))
    assert second.metrics["loss"] == pytest.approx(math.log(2), abs=1e-5)


def test_a_copy_of_the_model_elsewhere_is_the_same_reference(
    home: Path, tmp_path: Path, dpo: Dpo, passes: list[int]
) -> None:
    dpo()
    dpo(model=shutil.copytree(home / "model", tmp_path / "copy"))
    assert passes == [12]


def test_another_number_type_is_another_reference(dpo: Dpo, passes: list[int]) -> None:
    dpo()
    dpo(dtype="bf16")
    dpo(dtype="bf16", beta=0.3)
    assert passes == [12, 12]


def test_a_trained_adapter_is_another_reference(home: Path, dpo: Dpo, passes: list[int]) -> None:
    base = dpo()
    adapted = dpo(model=home / "adapter")
    assert passes == [12, 12]
    assert not torch.equal(kept(base), kept(adapted))
    assert adapted.metrics["loss"] == pytest.approx(math.log(2), abs=1e-5)
    dpo(model=home / "adapter", beta=0.5)
    assert passes == [12, 12]


def test_only_groups_that_are_new_are_computed(dpo: Dpo, passes: list[int]) -> None:
    other_token = [{**ROWS[0], "rejected": " cat", "id": "a"}, {**ROWS[1], "prompt": "mat ?", "id": "b"}]
    dpo(data=ROWS[:8])
    dpo(data=[*ROWS[3:], *other_token])
    dpo(data=[*reversed(ROWS), *other_token])
    assert passes == [8, 6]


def test_another_mask_is_another_group(dpo: Dpo, passes: list[int]) -> None:
    """The same text, cut elsewhere into prompt and completion."""
    moved = {**ROWS[0], "prompt": ROWS[0]["prompt"] + " the"}
    split = {**ROWS[0], "chosen": " the" + ROWS[0]["chosen"], "rejected": " the" + ROWS[0]["rejected"]}
    for row in (moved, split):
        dpo(data=[row, *ROWS[1:]])
    assert passes == [12, 1]


def test_equal_groups_are_computed_once(dpo: Dpo, passes: list[int]) -> None:
    found = dpo(data=[*ROWS[:5], *({**row, "id": f"again {row['id']}"} for row in ROWS[:5])])
    assert passes == [5]
    one, other = kept(found).chunk(2)
    assert torch.equal(one, other)


def test_values_of_the_store_are_those_of_a_pass(dpo: Dpo, passes: list[int]) -> None:
    """Computed among other groups, in another layout and cut, one part after the other."""
    dpo(data=ROWS[5:], layout="rows", max_tokens=40)
    dpo(data=ROWS[:5], max_tokens=2000)
    mixed = dpo()
    fresh = dpo(reference_cache="none")
    assert passes == [7, 5, 12]
    assert (kept(mixed) - kept(fresh)).abs().max() < 3e-5
    assert mixed.metrics["loss"] == pytest.approx(fresh.metrics["loss"], abs=1e-6)


def test_another_models_reference_goes_by_its_content_too(home: Path, dpo: Dpo, passes: list[int]) -> None:
    """By name, as an object, and as the model that is trained."""
    network, tokenizer = (kind.from_pretrained(home / "model") for kind in (AutoModelForCausalLM, AutoTokenizer))
    by_name = dpo(reference=home / "model")
    assert passes == [12]
    by_object = dpo(reference=network)
    dpo()
    dpo(model=network, tokenizer=tokenizer)
    assert passes == [12]
    assert torch.equal(kept(by_name), kept(by_object))


def test_in_bf16_too_the_reference_of_the_same_name_is_the_model_itself(
    home: Path, dpo: Dpo, passes: list[int]
) -> None:
    """Frequencies of rope rounded to bf16 would make it another, and the loss at the start another than log 2."""
    own, named = dpo(dtype="bf16"), dpo(dtype="bf16", reference=home / "model")
    assert passes == [12]
    assert own.metrics["loss"] == named.metrics["loss"] == pytest.approx(math.log(2), abs=1e-6)


class Stopped(Exception):
    """Stands for whatever ends a run in the middle."""


def stopped(run: Callable[[], object], *, after: int) -> None:
    steps = []

    def counted(self: Weights, *rest: Any, **more: Any) -> None:
        if len(steps) == after:
            raise Stopped
        steps.append(1)
        step(self, *rest, **more)

    step = Weights.step
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Weights, "step", counted)
        run()


LONG: dict[str, Any] = {"max_steps": 4, "save_steps": 2, "learning_rate": 1e-2, "warmup_steps": 0}


def test_a_resumed_run_takes_its_own_copy_though_the_cache_was_cleared(
    dpo: Dpo, cache: Path, tmp_path: Path, passes: list[int]
) -> None:
    stopped(lambda: dpo(**LONG), after=3)
    shutil.rmtree(cache)
    resumed = dpo(**LONG, output_dir=tmp_path / "run0", resume=True)
    assert passes == [12] and not cache.exists()
    whole = dpo(**LONG)
    one, other = ((result.output_dir / "model.safetensors").read_bytes() for result in (resumed, whole))
    assert one == other


def test_a_resumed_run_takes_its_own_copy_though_the_store_has_other_values(
    dpo: Dpo, cache: Path, tmp_path: Path, passes: list[int]
) -> None:
    """As when they were computed in other micro-batches meanwhile."""
    stopped(lambda: dpo(**LONG), after=3)
    copied = (tmp_path / "run0" / "reference.safetensors").read_bytes()
    shutil.rmtree(cache)
    dpo(max_tokens=40, layout="rows")
    dpo(**LONG, output_dir=tmp_path / "run0", resume=True)
    assert passes == [12, 12]
    assert (tmp_path / "run0" / "reference.safetensors").read_bytes() == copied


def test_an_object_that_was_trained_in_place_is_resumed_with_the_reference_it_began_with(
    home: Path, dpo: Dpo, tmp_path: Path, passes: list[int]
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(home / "model")
    network = AutoModelForCausalLM.from_pretrained(home / "model", dtype=torch.float32)
    stopped(lambda: dpo(model=network, tokenizer=tokenizer, **LONG), after=3)
    network.zero_grad()
    resumed = dpo(model=network, tokenizer=tokenizer, **LONG, output_dir=tmp_path / "run0", resume=True)
    assert passes == [12]
    whole = dpo(**LONG)
    assert resumed.metrics["rewards/margins"] == whole.metrics["rewards/margins"] != 0


def test_a_run_that_starts_anew_takes_no_copy_of_another_model(
    home: Path, dpo: Dpo, tmp_path: Path, passes: list[int]
) -> None:
    """It was stopped before its first checkpoint, and the model directory has other weights since."""
    model = shutil.copytree(home / "model", tmp_path / "model")
    stopped(lambda: dpo(model=model, **LONG), after=1)
    dpo(model=model, **{**LONG, "max_steps": 4}, output_dir=tmp_path / "run0", resume=True)
    assert passes == [12]
    stopped(lambda: dpo(model=model, **LONG), after=1)
    changed_weight(model)
    assert dpo(model=model, **LONG, output_dir=tmp_path / "run2", resume=True).summary["steps"] == 4
    assert passes == [12, 12]
    fresh = dpo(model=model)
    assert torch.equal(kept(fresh), load_file(tmp_path / "run2" / "reference.safetensors")["token"])


def test_a_damaged_copy_is_said_and_made_anew(
    dpo: Dpo, tmp_path: Path, passes: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    stopped(lambda: dpo(**LONG), after=3)
    file = tmp_path / "run0" / "reference.safetensors"
    copied = file.read_bytes()
    file.write_bytes(copied[:-1] + bytes([copied[-1] ^ 1]))
    capsys.readouterr()
    dpo(**LONG, output_dir=tmp_path / "run0", resume=True)
    said = capsys.readouterr().err
    assert f"the run's own copy of the reference is not the bytes that were written (sha256): {file}" in said
    assert "it is made anew" in said
    assert passes == [12]  # the store has them
    assert torch.equal(read(file).tensors["token"], load(copied)["token"])


def test_a_damaged_cache_is_said_once_and_computed_anew(
    dpo: Dpo, cache: Path, passes: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    first = dpo()
    (file,) = cache.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-7])
    capsys.readouterr()
    second, third = dpo(), dpo()
    said = capsys.readouterr().err
    assert said.count("a file of the cache is damaged") == 1 and str(file) in said
    assert passes == [12, 12]
    assert torch.equal(kept(first), kept(second)) and torch.equal(kept(second), kept(third))


@pytest.mark.parametrize("what", ["a file in its place", "forbidden", "full", "no room for it"])
def test_a_cache_that_cannot_be_written_is_said_once_and_the_run_goes_on(
    what: str, dpo: Dpo, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    if what == "a file in its place":
        cache.write_text("mine")
    elif what == "forbidden":
        monkeypatch.setattr("accord.models.store.make_room", refuse)
    elif what == "full":
        usage, nothing = shutil.disk_usage, type("Usage", (), {"free": 100})
        monkeypatch.setattr("shutil.disk_usage", lambda place: nothing if Path(place) == cache else usage(place))
    else:
        monkeypatch.setenv("ACCORD_CACHE_MAX_GB", "0.000001")
    monkeypatch.setattr(score_all, "FLUSH", -1.0)  # after every micro-batch
    result = dpo(max_tokens=40)
    assert capsys.readouterr().err.count("not shared with other runs") == 1
    assert result.metrics["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert len(kept(result)) > 100


def test_a_cache_that_is_read_only_is_read(dpo: Dpo, passes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    dpo()
    monkeypatch.setattr(os, "utime", refuse)
    dpo(beta=0.2)
    assert passes == [12]


def test_a_pass_that_was_killed_goes_on_where_it_was(
    dpo: Dpo, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def failing(*rest: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise Stopped
        return logprobs(*rest)

    from accord.models import reference

    logprobs = reference.logprobs
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(score_all, "FLUSH", -1.0)
        patch.setattr(reference, "logprobs", failing)
        dpo(max_tokens=1, layout="rows")  # one group a micro-batch
    dpo()
    assert passes == [12, 9]


def test_values_that_are_not_the_models_are_found_out_before_step_1(
    dpo: Dpo, cache: Path, passes: list[int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = dpo()
    with pytest.MonkeyPatch.context() as patch:
        keep = Store.keep
        patch.setattr(
            Store,
            "keep",
            lambda self, key, about, values: keep(
                self, key, about, {name: tuple(part + 0.01 for part in parts) for name, parts in values.items()}
            ),
        )
        shutil.rmtree(cache)
        dpo()
    capsys.readouterr()
    third = dpo()
    assert "are not this model's, and are computed anew" in capsys.readouterr().err
    assert torch.equal(kept(first), kept(third))
    assert passes == [12, 12, 12]
    dpo()
    assert passes == [12, 12, 12]


def test_none_keeps_nothing_and_a_directory_is_taken_as_named(dpo: Dpo, cache: Path, tmp_path: Path) -> None:
    dpo(reference_cache="none")
    assert not cache.exists()
    dpo(reference_cache=tmp_path / "mine")
    assert not cache.exists() and list((tmp_path / "mine").rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("variables", "root"),
    [
        ({"ACCORD_CACHE": "/a"}, "/a"),
        ({"ACCORD_CACHE": "~/a"}, "/home/x/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/accord"),
        ({}, "/home/x/.cache/accord"),
        ({"ACCORD_CACHE": "none"}, None),
    ],
)
def test_where_the_store_is(variables: dict[str, str], root: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACCORD_CACHE", "XDG_CACHE_HOME", "ACCORD_CACHE_MAX_GB"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/x", **variables}.items():
        monkeypatch.setenv(name, value)
    store = caches.store_of("auto")
    assert (str(store.root) if store else None) == root
    assert store is None or store.limit == 10_000_000_000
    assert caches.store_of("none") is None
    monkeypatch.setenv("ACCORD_CACHE_MAX_GB", "0.5")
    named = caches.store_of("/c")
    assert named is not None and (str(named.root), named.limit) == ("/c", 500_000_000)
    monkeypatch.setenv("ACCORD_CACHE_MAX_GB", "lots")
    with pytest.raises(accord.InputError, match="ACCORD_CACHE_MAX_GB: 'lots' is not a number"):
        caches.store_of("/c")


def test_the_copy_says_of_which_model_and_data_it_is(dpo: Dpo) -> None:
    one, other, less = (
        read(result.output_dir / "reference.safetensors").about for result in (dpo(), dpo(beta=0.3), dpo(data=ROWS[1:]))
    )
    assert one == other and one["content"] == less["content"] and one["data"] != less["data"]


def test_logprobs_in_bf16_keep_the_frequencies_of_rope(home: Path, tmp_path: Path) -> None:
    found = accord.logprobs(model=home / "model", data=ROWS, output=tmp_path / "x.jsonl", dtype="bf16")
    network = load_network(str(home / "model"), dtype=torch.bfloat16)
    assert network.model.rotary_emb.inv_freq.dtype == torch.float32
    tokenizer = AutoTokenizer.from_pretrained(home / "model")
    same = accord.logprobs(model=network, tokenizer=tokenizer, data=ROWS, output=tmp_path / "y.jsonl")
    assert [row["logprob"] for row in found] == [row["logprob"] for row in same]


def listed(capsys: pytest.CaptureFixture[str], **options: object) -> Any:
    capsys.readouterr()
    rows = call("cache", json="-", **options)
    assert json.loads(capsys.readouterr().out) == rows
    return rows


def test_the_command_shows_and_clears(dpo: Dpo, cache: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dpo()
    dpo(data=[{**ROWS[0], "prompt": "dogs ?", "id": "dogs"}, *ROWS])
    dpo(dtype="bf16")
    bf16, float32 = sorted(listed(capsys), key=lambda row: row["dtype"])
    assert (float32["groups"], bf16["groups"]) == (13, 12)
    assert (float32["dtype"], bf16["dtype"]) == ("float32", "bfloat16")
    assert float32["of"] == bf16["of"] == str(home / "model")
    assert float32["tokens"] == sum(len(load_file(f)["token"]) for f in cache.glob(f"*/{float32['key']}*/*"))
    for file in cache.glob(f"*/{bf16['key']}*/*"):
        os.utime(file, (time.time() - 5 * 86_400,) * 2)
    assert [row["key"] for row in listed(capsys)] == [float32["key"], bf16["key"]]
    assert [row["key"] for row in listed(capsys, older_than=4.0)] == [bf16["key"]]
    assert listed(capsys, older_than=6.0) == []
    assert [row["key"] for row in listed(capsys, older_than=4.0, clear=True)] == [bf16["key"]]
    assert [row["key"] for row in listed(capsys)] == [float32["key"]]
    assert main(["cache", "--clear"]) == 0
    said = capsys.readouterr()
    assert "13" in said.out and "1 models and 0 data sets removed" in said.err
    assert listed(capsys) == [] and not list(cache.rglob("*.safetensors"))


def test_the_command_refuses_in_one_line(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(accord.InputError, match="reference_cache: none is no directory"):
        call("cache", reference_cache="none")
    with pytest.raises(accord.InputError, match="older_than must be"):
        call("cache", older_than=-1.0)
    monkeypatch.setattr(Store, "entries", refuse)
    assert main(["cache"]) == 4
    assert f"error[4] {cache}: cannot be read (Permission denied)" in capsys.readouterr().err
