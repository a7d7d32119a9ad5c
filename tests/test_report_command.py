"""`accord report` shows what runs left in their folders, whole or not, and what other commands found."""

import json
import re
import shlex
import signal
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from stage_runs import Run, write_lines

import accord
from accord.cli import main, spelled
from accord.errors import Diverged, IntegrityError, Stopped
from accord.evaluate.report.page import Charts, Conversations, Grid, Notice, Page, Part, Section
from accord.evaluate.report.ran import names, read_runs
from accord.evaluate.report.run_cost import spent_of
from accord.evaluate.report.run_curves import smoothed
from accord.evaluate.report.run_options import command_of
from accord.stages.commands import COMMANDS
from accord.stages.resolve import dump, load
from accord.training.run import RunFolder

LOGGED = [0.7, 0.6, 0.5]


def options_of(command: str, **options: object) -> Any:
    needed = {"model": "tuned", "data": "pairs.jsonl", "output_dir": "run"}
    if command in ("ppo", "grpo"):
        needed["reward"] = "reward"
    return load(COMMANDS[command].config, arguments={**needed, **options}, where="")


def figure(mean: float, low: float, high: float) -> dict[str, Any]:
    return {"mean": mean, "standard_error": 0.1, "interval": [low, high]}


def made(path: Path, command: str = "dpo", *, error: BaseException | None = None, **options: object) -> Path:
    """A run of three log lines, with all that a run leaves but its model; a summary only where it got to its end."""
    folder = RunFolder(path)
    folder.claim(command)
    folder.start()
    folder.record(total=30)
    folder.write_text("run.yaml", dump(options_of(command, **{"output_dir": str(path), **options})))
    counts = {
        "groups": 90,
        "read": 100,
        "kept": 90,
        "dropped": {"too long": [{"where": "p.jsonl:7", "id": "", "why": ""}]},
    }
    folder.write_json("data_report.json", {"train": counts, "held_out": {"groups": 10}})
    for place, loss in enumerate(LOGGED, 1):
        train = {"loss": loss, "tokens_per_second": 100.0, "seconds_per_step": 0.5, "curiosity": 1.0}
        folder.log(10 * place, place / 3, train, {"loss": loss + 0.1, "loss_low": loss, "loss_high": loss + 0.2})
    folder.add_samples(0, [{"prompt": "Why?", "completion": "No idea.", "tokens": 3}])
    folder.add_samples(30, [{"prompt": "Why?", "completion": f"Because of {path.name}.", "tokens": 4}])
    if error is None:
        held = {"rewards/accuracies": {"before": figure(0.5, 0.4, 0.6), "after": figure(0.75, 0.65, 0.85)}}
        summary = {"command": command, "steps": 30, "seconds": 15.0, "train_groups": 90, "held_out": held}
        folder.write_json("summary.json", {**summary, "warnings": ["the reward of both falls (step 20)"]})
    folder.end(error)
    folder.close()
    return path


def page_of(tmp_path: Path, *runs: Path, **options: Any) -> Page:
    report = accord.report(run=[str(run) for run in runs], output=str(tmp_path / "page.html"), **options)
    assert isinstance(report.page, Page)
    return report.page


def chapter(page: Page, name: str) -> Section:
    return next(section for section in page.sections if section.id == name)


def parts(page: Page, name: str, kind: type[Part]) -> list[Any]:
    return [part for part in chapter(page, name).parts if isinstance(part, kind)]


def test_a_run_is_told_in_plain_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made(tmp_path / "aligned", beta=0.3)
    page = page_of(tmp_path, run)
    assert page.title == "The run aligned"
    assert "The model tuned learned from 90 prompts with judged answers" in page.summary
    assert "Loss: sigmoid, beta 0.3." in page.summary
    (table,) = parts(page, "runs", Grid)
    name, _, state, steps, telling, _ = table.rows[0]
    assert (name, state, steps) == ("aligned\naccord dpo", "finished", "30 of 30")
    assert telling == "75.0 % of pairs in order\nof held-out data\nbefore 50.0 %"
    assert [part.text for part in parts(page, "runs", Notice)] == ["aligned: the reward of both falls (step 20)"]
    (held,) = parts(page, "held-out", Grid)
    assert list(held.rows[0][1:]) == ["75.0 %", "65.0 to 85.0", "50.0 %"]
    (cost,) = parts(page, "cost", Grid)
    row = dict(zip(cost.columns, cost.rows[0], strict=True))
    assert (row["training"], row["steps"], row["tokens"], row["tokens a second"]) == ("15.0 s", "30", "1,500", "100")
    (data,) = parts(page, "data", Grid)
    assert data.rows[0][3:6] == ["100", "90", "1"]
    written = (tmp_path / "page.html").read_text()
    assert "p.jsonl:7" in written and "Because of aligned." in written
    assert re.search(r"page\.html: \d+\.\d kB, \d chapters", capsys.readouterr().out)


def test_training_and_held_out_lines_are_what_was_logged(tmp_path: Path) -> None:
    (charts,) = parts(page_of(tmp_path, made(tmp_path / "run")), "curves", Charts)
    loss = next(chart for chart in charts.charts if chart.title == "loss (nats)")
    training, held = loss.lines
    assert list(training.x) == [10, 20, 30] and list(training.y) == LOGGED
    assert list(held.y) == pytest.approx([0.8, 0.7, 0.6]) and held.marks
    assert list(held.low) == LOGGED and list(held.high) == pytest.approx([0.9, 0.8, 0.7])
    assert "run 0.7000 to 0.5000" in loss.alt and "run on held-out data 0.8000 to 0.6000" in loss.alt


def test_a_smoothed_point_is_the_mean_around_it() -> None:
    spike = [0.0] * 10 + [3.0] + [0.0] * 10
    assert smoothed(spike) == tuple([0.0] * 9 + [1.0] * 3 + [0.0] * 9)  # 21 points: one to each side
    straight = [float(x) for x in range(100)]
    assert smoothed(straight) == pytest.approx(straight)
    assert smoothed(spike[:19]) == tuple(spike[:19])


def test_tokens_are_those_of_the_steps_between_the_lines() -> None:
    lines = [
        {"step": 0, "eval_loss": 1.0},
        {"step": 10, "tokens_per_second": 100.0, "seconds_per_step": 0.5},
        {"step": 15, "eval_loss": 1.0},
        {"step": 30, "tokens_per_second": 10.0, "seconds_per_step": 1.0},
    ]
    assert spent_of(lines) == (10 * 50 + 20 * 10, 10 * 0.5 + 20 * 1.0)


def test_only_what_differs_is_shown_of_options(tmp_path: Path) -> None:
    page = page_of(
        tmp_path, made(tmp_path / "a", beta=0.1, weight_decay=0.2), made(tmp_path / "b", beta=0.5, weight_decay=0.2)
    )
    (table,) = parts(page, "options", Grid)
    assert table.columns == ["option", "a", "b"]
    assert [(row[0].split("\n")[0], *row[1:]) for row in table.rows] == [("beta", "0.1", "0.5")]
    (charts,) = parts(page, "curves", Charts)
    assert "loss (nats)" not in [chart.title for chart in charts.charts]  # in units of their beta
    assert "beta" in charts.note
    (said,) = parts(page, "samples", Conversations)
    assert [reply.text for reply in said.exchanges[0].replies] == ["Because of a.", "Because of b."]


def test_runs_of_one_loss_lie_over_each_other(tmp_path: Path) -> None:
    page = page_of(tmp_path, made(tmp_path / "a"), made(tmp_path / "b"), made(tmp_path / "c", "grpo"))
    pairs, samples = parts(page, "curves", Charts)
    loss = next(chart for chart in pairs.charts if chart.title == "loss (nats)")
    assert {(line.name, line.colour) for line in loss.lines} == {("a", 0), ("b", 1)}
    assert "loss (nats)" not in [chart.title for chart in samples.charts]  # of a policy gradient it says nothing


@pytest.mark.parametrize(
    ("error", "state", "kind"),
    [
        (Diverged("the loss is nan", where="step 30"), "failed", "failure"),
        (Stopped(signal.SIGTERM, "stopped by SIGTERM"), "stopped before its end", "warning"),
    ],
)
def test_a_run_that_did_not_end_is_shown_as_such(tmp_path: Path, error: BaseException, state: str, kind: str) -> None:
    page = page_of(tmp_path, made(tmp_path / "run", error=error))
    (table,) = parts(page, "runs", Grid)
    assert table.rows[0][2] == state
    (notice,) = parts(page, "runs", Notice)
    assert notice.kind == kind and error.args[0].split(": ")[-1] in notice.text and "--resume" in notice.text
    assert parts(page, "curves", Charts)


def test_killed_damaged_and_hardly_begun_runs_are_shown(tmp_path: Path) -> None:
    killed = made(tmp_path / "killed", error=KeyboardInterrupt())
    about = json.loads((killed / "run.json").read_text())
    (killed / "run.json").write_text(json.dumps({**about, "ended": None}))
    with open(killed / "metrics.jsonl", "a") as file:
        file.write('{"step": 40, "lo')  # the last line, half written
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").write_text("{")
    folder = RunFolder(tmp_path / "begun")
    folder.claim("sft")
    folder.close()
    page = page_of(tmp_path, killed, tmp_path / "damaged", tmp_path / "begun")
    (table,) = parts(page, "runs", Grid)
    assert [row[2] for row in table.rows] == [
        "ended without a word (killed)",
        "damaged",
        "ended without a word (killed)",
    ]
    assert [notice.kind for notice in parts(page, "runs", Notice)] == ["warning", "failure", "warning"]


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (
            "dpo",
            {"beta": 0.25, "loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5], "data": "it's a file.jsonl"},
        ),
        ("sft", {"report_to": "none", "shuffle": False, "save_steps": None, "max_steps": 7, "chat_template": "--x"}),
        ("simpo", {"learning_rate": 1e-06, "lora_r": 8, "eval_data": "held.jsonl"}),
        ("ppo", {"kl_coef": 0.05, "num_ppo_epochs": 2, "reward": ["reward", "words.py:count"]}),
    ],
)
def test_the_command_repeats_the_run(tmp_path: Path, command: str, options: dict[str, object]) -> None:
    config = options_of(command, **options)
    run = made(tmp_path / "run", command, **options)
    (ran,) = read_runs([str(run)])
    home, typed = command_of(ran).split("\n", 1)
    assert home == f"cd {Path.cwd()}"
    words = shlex.split(typed.replace("\\\n", ""))  # as a shell joins lines
    assert words[:2] == ["accord", command]
    arguments = dict(word.removeprefix("--").split("=", 1) for word in spelled(words[1:])[1:])
    assert arguments.pop("output_dir") == f"{run}-again"
    again = load(COMMANDS[command].config, arguments={**arguments, "output_dir": config.run.output_dir})
    assert again == config


def test_a_directory_stands_for_all_runs_below(tmp_path: Path) -> None:
    second, first = made(tmp_path / "sweep" / "beta0.5"), made(tmp_path / "sweep" / "beta0.1")
    for run, started in ((first, 1.0), (second, 2.0)):
        about = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({**about, "started": started}))
    found = read_runs([str(tmp_path / "sweep"), str(first)])
    assert [ran.folder for ran in found] == [first, second]


def test_a_name_is_the_end_of_the_path_that_tells_it_from_others() -> None:
    assert names([Path("/r/0/dpo"), Path("/r/1/dpo"), Path("/r/0/sft")]) == ["0/dpo", "1/dpo", "sft"]
    assert names([Path("/a/x/run"), Path("/b/x/run")]) == ["a/x/run", "b/x/run"]


def compared() -> dict[str, Any]:
    rate, other = {"win_rate": 0.86, "interval": [0.78, 0.915]}, {"win_rate": 0.14, "interval": [0.085, 0.22]}
    ended = {"model": "dpo", "n": 100, "characters": figure(122.25, 114.0, 130.0), "ended": figure(0.98, 0.93, 0.99)}
    return {
        "models": ["tuned", "dpo"],
        "options": {"seed": 0},
        "win_rates": {"matrix": {"tuned": {"tuned": None, "dpo": other}, "dpo": {"tuned": rate, "dpo": None}}},
        "answers": [ended],
        "safety": None,
        "kl": {"reference": "tuned", "models": [{"model": "dpo", "n": 100, "k1": figure(3.173, 2.578, 3.769)}]},
        "early_warnings": [{"model": "dpo", "figures": [{"figure": "words", "warning": "answers are longer"}]}],
        "samples": [{"id": "1", "prompt": "Why?", "answers": {"tuned": "No.", "dpo": "Yes!"}}],
        "left_out": {"safety": "no --classifier is given"},
    }


def test_a_comparison_is_a_chapter(tmp_path: Path) -> None:
    (tmp_path / "all.json").write_text(json.dumps(compared()))
    page = page_of(tmp_path, compare=[str(tmp_path / "all.json")])
    assert chapter(page, "result-1").title == "Models compared: all"
    matrix, answers, kl = parts(page, "result-1", Grid)
    assert matrix.rows == [["tuned", "", "14.0 %\n8.5 to 22.0"], ["dpo", "86.0 %\n78.0 to 91.5", ""]]
    assert matrix.shade[1][1] == pytest.approx(0.72) and matrix.shade[0][2] == pytest.approx(-0.72)
    assert matrix.shade[0][1] is None
    assert answers.rows == [["dpo", "100", "122.2\n114 to 130", "98.0 %\n93.0 to 99.0"]]
    assert kl.rows == [["dpo", "100", "3.173\n2.578 to 3.769"]]
    warning, left_out = parts(page, "result-1", Notice)
    assert warning.text == "dpo: answers are longer" and "no --classifier" in left_out.text
    (said,) = parts(page, "result-1", Conversations)
    assert [reply.text for reply in said.exchanges[0].replies] == ["No.", "Yes!"]


def test_safety_says_what_is_surely_better(tmp_path: Path) -> None:
    def cell(mean: float, **against: object) -> dict[str, Any]:
        return {**figure(mean, mean - 0.1, mean + 0.1), **({"against": against} if against else {})}

    rows = [
        {"model": "base", "toxic": cell(0.4), "length": cell(5.0)},
        {
            "model": "dpo",
            "toxic": cell(0.2, value=-0.2, verdict="better"),
            "length": cell(6.0, value=1.0, verdict=None),
        },
    ]
    heads = [
        {"name": "toxic", "title": "toxic", "better": "lower", "share": True},
        {"name": "length", "title": "length", "better": None, "share": False},
    ]
    (tmp_path / "s.json").write_text(json.dumps({"against": "base", "columns": heads, "models": rows}))
    (table,) = parts(page_of(tmp_path, compare=[str(tmp_path / "s.json")]), "result-1", Grid)
    assert table.columns == ["model", "toxic (lower is better)", "length"]
    assert table.rows[1] == ["dpo", "20.0 %\n10.0 to 30.0\n-20.0", "6.000\n5.900 to 6.100\n+1.000"]
    assert table.shade[1][1] > 0 and table.shade[1][2] is None


@pytest.mark.parametrize(
    ("found", "columns", "first"),
    [
        ([{"model": "a", "loss": 1.25}, {"model": "b", "n": 3}], ["model", "loss", "n"], ["a", "1.250", ""]),
        ({"points": [{"beta": 0.1, "kl": figure(2.5, 2.0, 3.0)}]}, ["beta", "kl"], ["0.1000", "2.500\n2 to 3"]),
        ({"perplexity": 12345.6, "ok": True}, ["", "value"], ["perplexity", "12,346"]),
    ],
)
def test_any_result_is_a_table(tmp_path: Path, found: object, columns: list[str], first: list[str]) -> None:
    (tmp_path / "r.json").write_text(json.dumps(found))
    (table,) = parts(page_of(tmp_path, compare=[str(tmp_path / "r.json")]), "result-1", Grid)
    assert table.columns == columns and table.rows[0] == first


def report_of_rewards() -> dict[str, Any]:
    bins = [
        {"probability": 0.55, "frequency": 0.5, "interval": [0.4, 0.6]},
        {"probability": 0.9, "frequency": 0.95, "interval": [0.8, 1.0]},
    ]
    parted = [{"name": "1 to 2", "model": figure(0.6, 0.5, 0.7)}, {"name": "3 to 9", "model": figure(0.8, 0.7, 0.9)}]
    sure = {"ece": 0.024, "ece_by_chance": 0.03, "confidence": 0.69, "bins": bins}
    return {
        "pairs": 1200,
        "accuracy": figure(0.673, 0.639, 0.706),
        "calibration": sure,
        "by_gap": parted,
        "orders": None,
    }


def test_a_reward_model_is_shown_with_its_calibration(tmp_path: Path) -> None:
    run = made(tmp_path / "reward", "reward")
    (run / "reward_report.json").write_text(json.dumps(report_of_rewards()))
    page = page_of(tmp_path, run)
    (table,) = parts(page, "reward", Grid)
    shown = {name: value for name, value in table.rows}
    assert shown["accuracy: preferred answers scored higher"] == "67.3 %\n63.9 to 70.6"
    assert shown["error of calibration (ECE)"] == "2.4 %" and shown["pairs of held-out data"] == "1,200"
    assert "best of its group ranked first" not in shown
    (charts,) = parts(page, "reward", Charts)
    calibration, by_gap = charts.charts
    perfect, found = calibration.lines
    assert list(perfect.x) == list(perfect.y) == [0.5, 1.0] and perfect.dashed
    assert list(found.x) == [0.55, 0.9] and list(found.y) == [0.5, 0.95] and list(found.low) == [0.4, 0.8]
    assert list(by_gap.lines[0].y) == [0.6, 0.8] and "1: 1 to 2; 2: 3 to 9" in by_gap.caption


def test_a_real_run(quick: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quick("sft", samples=1, sample_tokens=4, max_steps=2, validation=0.2) == 0
    assert main(["report", str(tmp_path / "run"), "--output", str(tmp_path / "page.html")]) == 0
    assert "page.html: " in capsys.readouterr().out
    page = unescape((tmp_path / "page.html").read_text())
    for told in (
        "Supervised fine-tuning",
        "finished",
        "2 of 2",
        "before training",
        "tokens guessed right",
        "accord sft",
    ):
        assert told in page, told
    code = re.search(r"accord 0\.\d+\.\d+ [0-9a-f]{12}", page)
    assert code is not None  # what it was computed by


BROKEN = '{"step": 10, "loss": 0.5}\nnot json\n{"step": 30}\n'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """run, broken (a run), file.txt, result.json, empty."""
    here = tmp_path_factory.mktemp("place")
    made(here / "run")
    (made(here / "broken") / "metrics.jsonl").write_text(BROKEN)
    (here / "file.txt").write_text("text")
    (here / "result.json").write_text("{}")
    (here / "empty").mkdir()
    return here


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "no run is named"),
        (["nowhere"], 2, "nowhere: no such directory"),
        (["file.txt"], 2, "file.txt: is a file, and no run folder"),
        (["empty"], 2, "empty: no run folder, and none is below it"),
        (["run", "--output", "empty"], 2, "empty: is a directory: give a file, as --output empty/report.html"),
        (["run", "--output", "gone/page.html"], 4, "gone/page.html: cannot be written"),
        (["broken"], 6, "broken/metrics.jsonl:2: not what was written"),
        (["run", "--compare", "file.txt"], 2, "file.txt: no JSON"),
        (["run", "--compare", "nowhere.json"], 2, "nowhere.json: cannot be read"),
        (["--compare", "result.json", "--output", "result.json"], 2, "result.json: is a result that is read"),
    ],
)
def test_bad_input_is_one_clear_line(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    assert main(["report", *words]) == code
    line = capsys.readouterr().err.strip()
    assert line.startswith(f"error[{code}] ") and said in line and "\n" not in line
    assert sorted(place.rglob("*")) == before  # nothing is left half-written


@pytest.mark.parametrize(
    "name", ["summary.json", "data_report.json", "run.yaml", "reward_report.json", "MANIFEST.json"]
)
def test_a_broken_file_is_named(tmp_path: Path, name: str) -> None:
    run = made(tmp_path / "run")
    (run / name).write_text("{[")
    with pytest.raises(IntegrityError, match=name):
        read_runs([str(run)])


@pytest.mark.parametrize("value", [None, [], {}, "x", 3, [None], {"after": 1}, {"train": [], "a": None}])
def test_files_of_another_shape_are_no_reason_to_fail(tmp_path: Path, value: object) -> None:
    """Whoever edited them: what is not there cannot be shown, and everything else is."""
    run = made(tmp_path / "run")
    keys = ("held_out", "samples", "losses", "warnings", "best", "ended", "data", "seconds", "train_groups")
    (run / "summary.json").write_text(json.dumps({key: value for key in keys}))
    (run / "data_report.json").write_text(json.dumps({"train": value, "held_out": value}))
    (run / "reward_report.json").write_text(json.dumps({"accuracy": value, "calibration": value, "by_gap": value}))
    (run / "classify_report.json").write_text(json.dumps({"accuracy": value, "labels": value, "calibration": value}))
    write_lines(run / "samples.jsonl", [{"step": 1, "prompt": value, "completion": value, "tokens": value}])
    write_lines(
        run / "metrics.jsonl", [{"step": 1, "loss": value, "seconds_per_step": value, "tokens_per_second": value}]
    )
    (tmp_path / "r.json").write_text(
        json.dumps({**compared(), "win_rates": value, "answers": value, "kl": value, "samples": value})
    )
    (tmp_path / "s.json").write_text(json.dumps({"against": value, "columns": value, "models": value}))
    (tmp_path / "w.json").write_text(json.dumps({"win_rates": value, "pairs": value}))
    page = page_of(tmp_path, run, compare=[str(tmp_path / name) for name in ("r.json", "s.json", "w.json")])
    assert [row[0] for row in parts(page, "runs", Grid)[0].rows] == ["run\naccord dpo"]


def test_no_torch_is_needed_to_look_at_runs(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    words = ["report", str(run), "--output", str(tmp_path / "page.html")]
    heavy = "{'torch', 'transformers', 'matplotlib'} & set(sys.modules)"
    program = f"import sys; from accord.cli import main; print(main({words!r}), sorted({heavy}))"
    root = Path(__file__).resolve().parents[1]
    seen = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert seen.stdout.splitlines()[-1] == "0 []"


def test_a_frontier_is_drawn(tmp_path: Path) -> None:
    def point(name: str, method: str, kl: float, gold: float) -> dict[str, Any]:
        figures = {"gold": figure(gold, gold - 0.1, gold + 0.1)}
        return {"name": name, "method": method, "kl": figure(kl, kl, kl), "figures": figures, "error": None}

    failed = {"name": "ppo 0.01", "method": "ppo", "kl": None, "figures": {}, "error": "it diverged"}
    found = {
        "reward": "reward",
        "kl": "k3",
        "start": point("model", "start", 0.0, 1.0),
        "points": [point("dpo 0.1", "dpo", 4.0, 1.5), point("dpo 0.5", "dpo", 1.0, 2.0), failed],
        "methods": [{"method": "dpo", "knee": None}],
        "notes": ["few prompts"],
    }
    (tmp_path / "f.json").write_text(json.dumps(found))
    page = page_of(tmp_path, compare=[str(tmp_path / "f.json")])
    (charts,) = parts(page, "result-1", Charts)
    dpo, ppo = charts.charts[0].lines
    assert (list(dpo.x), list(dpo.y)) == ([0.0, 1.0, 4.0], [1.0, 2.0, 1.5])
    assert list(dpo.low) == pytest.approx([0.9, 1.9, 1.4]) and list(ppo.x) == [0.0]
    table = parts(page, "result-1", Grid)[0]
    assert table.rows[1] == ["dpo 0.1", "4", "1.500\n1.400 to 1.600", ""]
    assert table.rows[3] == ["ppo 0.01", "", "", "it diverged"]
    assert [notice.text for notice in parts(page, "result-1", Notice)] == ["few prompts"]
