"""The data of a run: mixtures, who is held out, kept tokens, and the check that every run makes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from accord import InputError, RecordError
from accord.data.choose import demonstration
from accord.stages.caches import tokens_of
from accord.stages.commands import COMMANDS, call
from accord.stages.intake import KEPT, Intake, Preparation, fitting
from accord.stages.load_data import Data, load_data
from accord.stages.options import DataOptions, LengthOptions, ModelOptions, Part
from accord.stages.prefer import intake_of
from accord.stages.pretrain import INTAKE
from accord.stages.resolve import load
from tests import tiny

LENGTH = LengthOptions(max_dropped=1.0)


def rows(count: int, start: int = 0, prompt: str = "say") -> list[dict[str, Any]]:
    return [
        {"prompt": f"{prompt} {i}", "chosen": f" yes {i}", "rejected": f" no {i}"} for i in range(start, start + count)
    ]


def write(path: Path, found: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    return str(path)


def loaded(data: object, *, intake: Intake | None = None, cache: str = "none", **options: Any) -> Data:
    """As a run of `accord dpo` loads them."""
    given = {} if isinstance(data, str) or (isinstance(data, list) and "path" in data[0]) else {"data": data}
    chosen = DataOptions(data="<object>" if given else data, **options)
    if intake is None:
        config = load(COMMANDS["dpo"].config, arguments={"model": "m", "data": "d", "output_dir": "o"})
        intake = intake_of(config, "pairs")  # type: ignore[arg-type]
    length = None if intake.pack else LENGTH
    model = ModelOptions(model="m")
    preparation = Preparation(tiny.tokenizer(), model, chosen, intake, length, cache=tokens_of(cache))
    return load_data(preparation, chosen, given)


def ids(data: Data) -> list[str]:
    return [str(data.groups[place].group.source) for place in data.train]


def test_one_file_gives_each_group_once(tmp_path: Path) -> None:
    data = loaded(write(tmp_path / "a.jsonl", rows(5)))
    assert data.train == list(range(5)) and data.trained == 5 and not data.held
    assert data.report.summary() == "5 read, 5 kept, 0 dropped"
    assert "mixture" not in data.to_json()["train"]


def test_weights_of_a_mixture_say_how_often_an_epoch_goes_through_a_source(tmp_path: Path) -> None:
    names = [write(tmp_path / f"{name}.jsonl", rows(200, prompt=name)) for name in "abc"]
    data = loaded([{"path": names[0]}, {"path": names[1], "weight": 2.5}, {"path": names[2], "weight": 0.25}])
    times = Counter(place for place in data.train)
    seen = [[times[i] for i in range(200 * part, 200 * part + 200)] for part in range(3)]
    assert set(seen[0]) == {1} and set(seen[1]) == {2, 3} and set(seen[2]) == {0, 1}
    assert 70 < seen[1].count(3) < 130 and 25 < seen[2].count(1) < 80
    found = data.to_json()["train"]["mixture"]
    assert [part["an_epoch"] for part in found] == [sum(part) for part in seen]
    assert [part["weight"] for part in found] == [1.0, 2.5, 0.25]
    assert data.report.read == 600
    again = loaded([{"path": names[0]}, {"path": names[1], "weight": 2.5}, {"path": names[2], "weight": 0.25}])
    assert again.train == data.train and again.fingerprint == data.fingerprint
    assert loaded([{"path": name} for name in names]).fingerprint != data.fingerprint


def test_the_share_of_a_source_has_nothing_to_do_with_who_is_held_out(tmp_path: Path) -> None:
    name = write(tmp_path / "a.jsonl", rows(400))
    half = loaded([{"path": name, "weight": 0.5}, {"path": write(tmp_path / "b.jsonl", rows(1, 999))}], validation=0.5)
    assert 60 < len(half.train) < 140  # a half of a half of 400
    assert 150 < len(half.held) < 250


def test_held_out_prompts_are_the_same_in_every_stage(tmp_path: Path) -> None:
    name = write(tmp_path / "a.jsonl", rows(60))
    sides = []
    for intake in (None, Intake("sft", demonstration, fitting(LENGTH)), INTAKE._replace(pack=None)):
        data = loaded(name, intake=intake, validation=0.3)
        sides.append({data.groups[place].group.source.line for place in data.held})
    assert sides[0] == sides[1] == sides[2] and 5 < len(sides[0]) < 35


def test_a_mixture_of_documents_is_packed_with_its_repeats(tmp_path: Path) -> None:
    texts = [write(tmp_path / f"{name}.jsonl", [{"text": f"{name} the cat {i}"} for i in range(4)]) for name in "ab"]
    once = loaded([{"path": texts[0]}, {"path": texts[1]}], intake=INTAKE, max_length=2048)
    twice = loaded([{"path": texts[0]}, {"path": texts[1], "weight": 2}], intake=INTAKE, max_length=2048)
    assert [len(block.completions) for block in once.groups] == [8]
    assert [len(block.completions) for block in twice.groups] == [12]


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([], "an empty list"),
        ([{"weight": 1}], "entry 1 has no path"),
        ([{"path": "a", "wieght": 1}], "unknown key 'wieght'"),
        ([{"path": "a"}, {"path": "b", "weight": 0}], "weight of entry 2"),
        ([{"path": "a", "weight": "2"}], "weight of entry 1"),
        ([{"path": "a", "split": 3}], "split of entry 1"),
    ],
)
def test_bad_mixtures_are_refused(entries: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(InputError, match=f"data: .*{why}"):
        load(COMMANDS["dpo"].config, arguments={"model": "m", "data": entries, "output_dir": "o"}, where="")


def test_datasets_in_yaml_is_a_mixture(tmp_path: Path) -> None:
    text = "model: m\noutput_dir: o\ndatasets:\n  - {path: a.jsonl, weight: 2}\n  - {path: b, split: test}\n"
    (tmp_path / "run.yaml").write_text(text)
    config: Any = load(COMMANDS["dpo"].config, file=str(tmp_path / "run.yaml"))
    assert config.data.parts == (Part("a.jsonl", None, 2.0), Part("b", "test", 1.0))
    (tmp_path / "run.yaml").write_text("model: m\noutput_dir: o\ndata: [a.jsonl, b]\n")
    config = load(COMMANDS["dpo"].config, file=str(tmp_path / "run.yaml"))
    assert config.data.parts == (Part("a.jsonl"), Part("b"))
    (tmp_path / "run.yaml").write_text("model: m\noutput_dir: o\ndatasets:\n  - {path: a, wieght: 2}\n")
    with pytest.raises(InputError, match="yaml:3: datasets: entry 1 has an unknown key 'wieght'"):
        load(COMMANDS["dpo"].config, file=str(tmp_path / "run.yaml"))


def test_shared_prompts_stop_a_run_unless_allowed(tmp_path: Path) -> None:
    train, held = write(tmp_path / "a.jsonl", rows(5)), write(tmp_path / "b.jsonl", rows(3, start=4))
    with pytest.raises(InputError, match=r"b.jsonl:1 is also trained on \(.*a.jsonl:5\).*: .*--allow_shared_prompts"):
        loaded(train, eval_data=held)
    data = loaded(train, eval_data=held, allow_shared_prompts=True)
    assert (data.trained, len(data.held)) == (5, 3)


def test_every_run_makes_the_check(tmp_path: Path) -> None:
    bad = [*rows(30), {"prompt": "say 1", "chosen": " no 1", "rejected": " yes 1"}, rows(3)[2]]
    data = loaded(write(tmp_path / "a.jsonl", bad))
    found = data.to_json()["train"]["findings"]
    assert found["contradiction"]["count"] == 1 and "a.jsonl:31" in found["contradiction"]["first"][0]
    assert found["duplicate"]["count"] == 1 and "a.jsonl:32" in found["duplicate"]["first"][0]
    with pytest.raises(RecordError, match=r"a.jsonl:1: rejected: empty text: drop the row"):
        loaded(write(tmp_path / "a.jsonl", [rows(1)[0] | {"rejected": ""}, *rows(3, 1)]))


def test_what_is_an_error_depends_on_what_a_stage_takes(tmp_path: Path) -> None:
    name = write(tmp_path / "a.jsonl", [rows(1)[0] | {"rejected": ""}, *rows(3, 1)])
    assert loaded(name, intake=Intake("sft", demonstration, fitting(LENGTH))).trained == 4  # it takes the chosen one
    assert loaded(name, intake=Intake("evaluate", lambda group: group, fitting(LENGTH))).trained == 4
    report = loaded(name, on_bad_row="drop").report
    assert report.summary() == "4 read, 3 kept, 1 dropped (rejected: empty text: 1 (line 1))"


def test_texts_that_become_the_same_tokens_are_no_pair(tmp_path: Path) -> None:
    eos = str(tiny.tokenizer().eos_token)
    same = {"prompt": "say", "chosen": " yes", "rejected": f" yes{eos}"}  # its end is the end
    with pytest.raises(RecordError, match=r"a.jsonl:1: .* are the same tokens"):
        loaded(write(tmp_path / "a.jsonl", [same, *rows(2)]))
    assert (
        "same tokens: 1 (line 1)"
        in loaded(write(tmp_path / "a.jsonl", [same, *rows(2)]), on_bad_row="drop").report.summary()
    )


def plain(data: Data) -> list[tuple[object, ...]]:
    return [
        (
            (group.group.id, str(group.group.source), group.group.judgements, group.prompt.tolist()),
            [(one.ids.tolist(), one.loss) for one in group.completions],
        )
        for group in data.groups
    ]


def test_a_second_run_reads_kept_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = [*rows(KEPT), rows(1)[0] | {"rejected": ""}]
    name, cache = write(tmp_path / "a.jsonl", found), str(tmp_path / "cache")
    first = loaded(name, cache=cache, on_bad_row="drop", validation=0.1)
    assert "tokens of" not in capsys.readouterr().err
    second = loaded(name, cache=cache, on_bad_row="drop", validation=0.2)
    assert f"tokens of {KEPT:,} groups from" in capsys.readouterr().err
    assert second.report.to_json() == first.report.to_json() and len(second.held) > len(first.held)
    again = loaded(name, cache=cache, on_bad_row="drop", validation=0.1)
    assert again.fingerprint == first.fingerprint and plain(again) == plain(first)
    other = [write(tmp_path / "a.jsonl", [*found, *rows(1, KEPT)]), name]
    assert len(loaded(other[0], cache=cache, on_bad_row="drop").groups) == KEPT + 1  # other bytes, other tokens
    assert loaded(name, cache=cache, on_bad_row="drop", max_length=99).report.read == KEPT + 2  # other options, too
    assert len(list((tmp_path / "cache" / "tokens").iterdir())) == 3


def test_what_changes_while_it_is_read_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tokens are no longer those of the bytes that the key was made of."""
    cache = tmp_path / "cache"
    name = write(tmp_path / "a.jsonl", rows(KEPT))
    made = Preparation._made

    def grown(*arguments: Any) -> Any:
        write(tmp_path / "a.jsonl", rows(KEPT + 1))
        return made(*arguments)

    monkeypatch.setattr(Preparation, "_made", grown)
    assert len(loaded(name, cache=str(cache)).groups) == KEPT + 1
    monkeypatch.undo()
    assert not cache.exists()
    write(tmp_path / "a.jsonl", rows(KEPT))
    assert len(loaded(name, cache=str(cache)).groups) == KEPT


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    name = write(tmp_path / "a.jsonl", rows(3))
    monkeypatch.setattr("accord.stages.intake.file_digest", refused)
    monkeypatch.setattr("accord.data.sources.opened", refused)
    with pytest.raises(InputError, match=r"a\.jsonl: cannot be read \(.*Permission denied\)"):
        loaded(name, cache=str(tmp_path / "cache"))


def test_a_setting_of_the_tokenizer_makes_other_tokens(tmp_path: Path) -> None:
    name = write(tmp_path / "a.jsonl", rows(3))
    keys = []
    for splits in (False, True):
        tokenizer = tiny.tokenizer()
        tokenizer.split_special_tokens = splits
        chosen = DataOptions(data=name)
        intake = Intake("sft", demonstration, fitting(LENGTH))
        keys.append(Preparation(tokenizer, ModelOptions(model="m"), chosen, intake, LENGTH)._key(name, "train"))
    assert None not in keys and keys[0] != keys[1]


def test_a_copy_of_a_file_has_its_tokens_and_its_own_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, cache = [*rows(KEPT), rows(1)[0] | {"rejected": ""}, rows(1)[0]], str(tmp_path / "cache")
    first = loaded(write(tmp_path / "a.jsonl", found), cache=cache, on_bad_row="drop")
    copy = loaded(write(tmp_path / "b.jsonl", found), cache=cache, on_bad_row="drop")
    assert f"tokens of {KEPT + 1:,} groups from" in capsys.readouterr().err
    assert copy.fingerprint == first.fingerprint
    assert str(copy.groups[4].group.source) == f"{tmp_path / 'b.jsonl'}:5"
    report = json.dumps(copy.report.to_json())
    assert "b.jsonl:2001" in report and "the same as" in report and "a.jsonl" not in report


def test_the_command_shows_and_clears_kept_tokens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCORD_CACHE", str(tmp_path / "cache"))
    name = write(tmp_path / "a.jsonl", rows(KEPT))
    tokens = sum(len(group.prompt) + group.length for group in loaded(name, cache="auto").groups)
    (row,) = call("cache")
    assert (row["kept"], row["of"], row["groups"]) == ("tokens", name, KEPT) and 0 < row["tokens"] <= tokens
    assert call("cache", older_than=1.0) == []
    assert call("cache", clear=True) == [row]
    assert "0 models and 1 data sets removed" in capsys.readouterr().err
    assert call("cache") == [] and not list((tmp_path / "cache" / "tokens").iterdir())


def test_small_data_and_lists_are_not_kept(tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    loaded(write(tmp_path / "a.jsonl", rows(KEPT - 1)), cache=cache)
    loaded(rows(KEPT), cache=cache)
    assert not (tmp_path / "cache").exists()
