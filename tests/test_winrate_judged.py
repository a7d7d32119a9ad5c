"""accord winrate where answers are judged: models, files and people's completions, in one command."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
from chat_double import base, prefers, says
from reward_service_double import Reply, nobody, service
from score_runs import furnish_scorers
from stage_runs import lines, words, write_lines

import accord
from accord.cli import main
from accord.evaluate.verdicts import Matched

PROMPTS = [
    {"id": f"p{i}", "prompt": row["prompt"], "completion": row["chosen"], "category": "ab"[i % 2]}
    for i, row in enumerate(tiny.comparisons(12))
]
QUICK = {"max_new_tokens": 8, "threads": 1, "length_control": "false"}  # of a judge

Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("judged")
    tiny.write_model(home / "sft")
    tiny.write_model(home / "dpo", tiny.llama(vocab_size=300, seed=1))
    furnish_scorers(home)
    write_lines(home / "prompts.jsonl", PROMPTS)
    chats = [{**row, "prompt": [{"role": "user", "content": row["prompt"]}]} for row in PROMPTS]
    chats = [{**row, "completion": [{"role": "assistant", "content": row["completion"]}]} for row in chats]
    write_lines(home / "chats.jsonl", chats)
    (home / "judges.py").write_text(
        "def longer(matched):\n    return [float(len(str(m.first.text)) > len(str(m.second.text))) for m in matched]\n"
        "def nan(matched):\n    return [float('nan')] * len(matched)\n"
    )
    for name, add in (("short", ""), ("long", " and so on")):
        rows = [{"instruction": row["prompt"], "output": row["completion"] + add, "generator": name} for row in PROMPTS]
        (home / f"{name}.json").write_text(json.dumps(rows))
    return home


@pytest.fixture
def winrate(home: Path, tmp_path: Path) -> Run:
    """winrate(model="dpo", ...): the rows of the table. What stands in `home` may be given by its name there."""

    def placed(value: Any) -> Any:
        there = [home / name for name in str(value).split(",")]
        return ",".join(map(str, there)) if all(Path(str(one).partition(":")[0]).exists() for one in there) else value

    def run(*, code: int = 0, **options: Any) -> list[dict[str, Any]]:
        options = (QUICK if "judge" in options else {}) | {key: placed(value) for key, value in options.items()}
        out = tmp_path / "table.json"
        assert main(words("winrate", {"rounds": 50, "json": out, **options})) == code
        found: list[dict[str, Any]] = json.loads(out.read_text()) if code == 0 else []
        return found

    return run


@pytest.mark.parametrize("prompts", ["prompts.jsonl", "chats.jsonl"])
def test_is_my_model_better_and_is_it_only_longer(
    winrate: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], prompts: str
) -> None:
    """One command offline; what it writes gives the same numbers again, without sampling or judging."""
    verdicts, answers = tmp_path / "verdicts.jsonl", [tmp_path / "dpo.json", tmp_path / "sft.jsonl"]
    asked = {"model": "dpo", "against": "sft", "prompts": prompts, "judge": "reward", "length_control": "true"}
    (row,) = winrate(**asked, verdicts=verdicts, answers=",".join(map(str, answers)))
    said = capsys.readouterr().out
    assert "judged by reward" in said and "longer wins:" in said
    assert row["n"] == 12 and row["failed"] == 0 and 0 <= row["win_rate"] <= 1
    kept = lines(verdicts)
    assert row["win_rate"] == pytest.approx(sum(one["preference"] - 1 for one in kept) / 12)
    assert row["avg_length"] == pytest.approx(sum(len(one["output_2"]) for one in kept) / 12)
    assert [one["output_2"] for one in kept] == [one["output"] for one in json.loads(answers[0].read_text())]
    assert [one["output_1"] for one in kept] == [one["output"] for one in lines(answers[1])]
    (again,) = winrate(data=verdicts)
    for key in ("win_rate", "standard_error", "interval", "ties", "length_controlled_win_rate"):
        assert again[key] == row[key], key
    (read,) = winrate(model=answers[0], against=answers[1], judge="reward")
    assert {key: read[key] for key in ("n", "win_rate", "avg_length")} == {
        key: row[key] for key in ("n", "win_rate", "avg_length")
    }


def test_verdicts_make_a_leaderboard(winrate: Run, tmp_path: Path) -> None:
    verdicts = tmp_path / "verdicts.jsonl"
    winrate(model="long.json", against="short.json", judge="judges.py:longer", verdicts=verdicts)
    assert main(["leaderboard", str(verdicts), "--ridge", "0.1", "--json", str(tmp_path / "board.json")]) == 0
    board = json.loads((tmp_path / "board.json").read_text())
    assert [one["model"] for one in board] == ["long", "short"]


def test_against_what_people_wrote(winrate: Run, home: Path, tmp_path: Path) -> None:
    verdicts = tmp_path / "verdicts.jsonl"
    (row,) = winrate(
        model="sft", against="reference", prompts="prompts.jsonl", judge="judges.py:longer", verdicts=verdicts
    )
    assert row["baseline"] == "reference" and row["model"] == "sft"
    assert [one["output_1"] for one in lines(verdicts)] == [one["completion"] for one in PROMPTS]
    longer = [len(one["output_2"]) > len(one["output_1"]) for one in lines(verdicts)]
    assert row["win_rate"] == pytest.approx(sum(longer) / 12)


def test_over_temperatures_with_a_picture(winrate: Run, tmp_path: Path) -> None:
    plot, verdicts = tmp_path / "rates.png", tmp_path / "verdicts.jsonl"
    rows = winrate(
        model="sft", against="reference", prompts="prompts.jsonl", judge="judges.py:longer", temperatures="0,0.5,1",
        plot=plot, verdicts=verdicts,
    )  # fmt: skip
    assert [row["level"] for row in rows] == [0, 0.5, 1] and [row["n"] for row in rows] == [12] * 3
    assert plot.read_bytes().startswith(b"\x89PNG")
    texts = {
        level: [one["output_2"] for one in lines(verdicts) if one["temperature"] == level] for level in (0, 0.5, 1)
    }
    assert len({tuple(one) for one in texts.values()}) == 3
    again = winrate(data=verdicts, over="temperature")
    assert [row["win_rate"] for row in again] == [row["win_rate"] for row in rows]


def test_several_models_and_categories(winrate: Run) -> None:
    rows = winrate(
        model="long.json,dpo", against="short.json", prompts="prompts.jsonl", judge="judges.py:longer", by="category"
    )
    assert [(row["category"], row["model"]) for row in rows if row["model"] == "long"] == [("a", "long"), ("b", "long")]
    assert [row["win_rate"] for row in rows if row["model"] == "long"] == [1.0, 1.0]
    assert {row["n"] for row in rows} == {6} and len(rows) == 4


def test_a_language_model_behind_a_server(
    winrate: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One command with a server; a second one pays for nothing."""
    monkeypatch.setenv("JURY_KEY", "secret")
    asked = {
        "model": "long.json", "against": "short.json", "judge": "openai:jury", "judge_key": "JURY_KEY",
        "judge_cache": tmp_path / "cache.jsonl",
    }  # fmt: skip
    with service(prefers(len)) as found:
        (row,) = winrate(**asked, base_url=base(found.url), report=tmp_path / "report.json")
        assert len(found.asked) == 24 and found.headers[0]["Authorization"] == "Bearer secret"
        winrate(**asked, base_url=base(found.url))
        assert len(found.asked) == 24
    assert row["win_rate"] == 1.0 and row["ties"] == 0
    seen = capsys.readouterr()
    assert "24 questions for 2,400 tokens" in seen.err and "0 questions for 0 tokens" in seen.err
    assert "both orders say the same: 100.0%" in seen.out
    about = json.loads((tmp_path / "report.json").read_text())["data"]
    assert about["bias"]["longer"]["share"] == 1.0 and about["judge"] == "jury (pairwise)" and not about["failures"]


def test_failures_are_counted_and_named(winrate: Run, capsys: pytest.CaptureFixture[str]) -> None:
    garbled = [says("?") if i < 4 else prefers(len) for i in range(5)]
    with service(*garbled) as found:
        (row,) = winrate(
            model="long.json", against="short.json", judge="openai:jury", base_url=base(found.url), workers=1,
            judge_cache="none",
        )  # fmt: skip
    assert (row["n"], row["failed"], row["win_rate"]) == (10, 2, 1.0)
    assert "note: 2 verdicts failed: 2 x '?' is not one of m, M" in capsys.readouterr().out


def test_what_was_not_paid_for_is_missing_and_not_failed(winrate: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with service(prefers(len)) as found:
        (row,) = winrate(
            model="long.json", against="short.json", judge="openai:jury", base_url=base(found.url), workers=1,
            judge_cache="none", max_cost=1250,
        )  # fmt: skip
    assert (row["n"], row["failed"]) == (6, 0)
    assert "note: 6 pairs were not judged, and count as missing" in capsys.readouterr().out


def test_prompts_without_an_answer_are_counted(winrate: Run, home: Path, tmp_path: Path, capsys: Any) -> None:
    rows = json.loads((home / "long.json").read_text())
    other = {"instruction": "something else ?", "output": "x", "generator": "long"}
    (tmp_path / "some.json").write_text(json.dumps([*rows[3:], other]))
    (row,) = winrate(
        model=tmp_path / "some.json", against="short.json", prompts="prompts.jsonl", judge="judges.py:longer"
    )
    seen = capsys.readouterr().err
    assert row["n"] == 9 and "note: 3 prompts have no answer of one of the two" in seen
    assert "note: 1 answers of" in seen


def test_from_python_a_function(home: Path) -> None:
    def first(matched: list[Matched]) -> list[float]:
        return [1.0] * len(matched)

    found = accord.winrate(
        model=str(home / "long.json"), against=str(home / "short.json"), judge=first, rounds=50, length_control=False
    )
    assert found.rows()[0]["win_rate"] == 1.0 and found.to_json()["data"]["judge"] == "first"


ERRORS: dict[str, tuple[dict[str, Any], int, str]] = {
    "no prompts": ({"model": "dpo", "against": "sft", "judge": "reward"}, 2, "prompts: not given, and"),
    "no baseline": ({"model": "long.json", "judge": "reward"}, 2, "against: not given"),
    "itself": (
        {"model": "long.json", "against": "long.json", "judge": "judges.py:longer"}, 2,
        "is also a model that is asked about",
    ),
    "no model": (
        {"model": "nobody", "against": "short.json", "prompts": "prompts.jsonl", "judge": "judges.py:longer"},
        2, "nobody",
    ),
    "data too": (
        {"data": "prompts.jsonl", "model": "long.json", "against": "short.json", "judge": "reward"}, 2,
        "--data: has its verdicts, and a judge is given",
    ),
    "no judge": ({"data": "prompts.jsonl", "workers": 3}, 2, "--workers: would not be used, as no judge is given"),
    "NaN": ({"model": "long.json", "against": "short.json", "judge": "judges.py:nan"}, 3, "gave nan"),
    "nothing to sample": (
        {"model": "long.json", "against": "short.json", "judge": "judges.py:longer", "temperatures": "0,1"}, 2,
        "temperatures: ",
    ),
    "onto itself": (
        {"model": "long.json", "against": "short.json", "judge": "judges.py:longer", "answers": "long.json"}, 2,
        "is the data that is read",
    ),
    "too many files": (
        {"model": "long.json", "against": "short.json", "judge": "judges.py:longer", "answers": "a.json,b.json,c.json"},
        2, "3 files for 2 models",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ERRORS)
def test_what_cannot_be_judged(winrate: Run, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    options, code, what = ERRORS[kind]
    winrate(**options, code=code)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error[{code}] ") and what in last


def test_no_server_is_exit_5(winrate: Run, capsys: pytest.CaptureFixture[str]) -> None:
    url = base(nobody())
    winrate(
        model="long.json", against="short.json", judge="openai:jury", base_url=url, judge_retries=0, judge_cache="none",
        code=5,
    )  # fmt: skip
    assert "error[5] " in capsys.readouterr().err


def test_a_judge_that_never_says_anything(winrate: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with service(Reply(says("well").body)) as found:
        winrate(
            model="long.json", against="short.json", judge="openai:jury", base_url=base(found.url), judge_cache="none",
            code=2,
        )  # fmt: skip
    assert "no verdict on 12 pairs of answers, mostly for: 'well' is not one of" in capsys.readouterr().err
