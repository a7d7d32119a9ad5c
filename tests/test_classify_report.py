"""The report of a classifier, by hand on a few texts."""

import json
import math
from pathlib import Path

import pytest

from accord.data.classified import Vocabulary
from accord.errors import StorageError
from accord.stages.classify_plot import draw
from accord.stages.classify_report import Row, report

LN3 = math.log(3.0)
TWO = Vocabulary(("fine", "toxic"), several=False)
THREE = Vocabulary(("a", "b", "c"), several=False)
EACH = Vocabulary(("rude", "sad"), several=True)


def row(
    score: list[float], target: list[float], *, group: int, weight: float = 1.0, said: list[float] | None = None
) -> Row:
    return Row(score, target, said or [1.0] * len(score), weight, group)


# P of toxic: 3/4, 3/4, 1/4, 1/4, 1/4; true: toxic, fine, fine, fine, fine
ROWS = [
    row([0, LN3], [0, 1], group=0),
    row([0, LN3], [1, 0], group=1),
    row([LN3, 0], [1, 0], group=2),
    row([LN3, 0], [1, 0], group=3),
    row([LN3, 0], [1, 0], group=4),
]


def test_one_label_of_two() -> None:
    found = report(ROWS, TWO)
    fine, toxic = found.labels
    assert found.texts == 5 and found.accuracy.mean == pytest.approx(4 / 5)
    assert found.majority.mean == pytest.approx(4 / 5) and found.ahead.mean == pytest.approx(0)
    assert (toxic.base, toxic.confusion.precision, toxic.confusion.recall) == pytest.approx((0.2, 0.5, 1.0))
    assert toxic.confusion.f1 == pytest.approx(2 / 3) and fine.confusion.f1 == pytest.approx(6 / 7)
    assert found.macro_f1 == pytest.approx((2 / 3 + 6 / 7) / 2)
    assert toxic.auc.mean == pytest.approx(3.5 / 4)  # of 4 fine ones 3 lie below, 1 is equal
    assert toxic.brier == pytest.approx((0.0625 + 0.5625 + 3 * 0.0625) / 5)
    assert found.table is not None and found.table.tolist() == [[3, 1], [0, 1]]
    # at 3/4 half are toxic, at 1/4 none of three: 2/5 * 1/4 + 3/5 * 1/4
    assert found.calibration.ece == pytest.approx(0.25)


def test_weights_count() -> None:
    heavy = [ROWS[0]._replace(weight=4.0), *ROWS[1:]]
    assert report(heavy, TWO).accuracy.mean == pytest.approx(7 / 8)
    assert report(heavy, TWO).majority.mean == pytest.approx(1 / 2)


def test_of_three_labels_the_chance_of_what_was_said_is_calibrated() -> None:
    rows = [row([LN3, 0, 0], [1, 0, 0], group=0), row([LN3, 0, 0], [0, 1, 0], group=1)]  # P = 3/5, right half the time
    found = report(rows, THREE)
    assert found.calibration.ece == pytest.approx(0.1)
    assert [label.name for label in found.labels] == ["a", "b", "c"]
    third = found.labels[2]  # never true and never said
    assert math.isnan(third.confusion.f1) and math.isnan(third.auc.mean)
    assert found.macro_f1 == pytest.approx((2 / 3 + 0) / 2)  # of a and b


def test_several_labels_count_what_was_said_of_each() -> None:
    rows = [
        row([2, -1], [1, 1], group=0),
        row([-2, -1], [0, 0], group=1),
        row([1, 3], [0, 0], group=2, said=[1.0, 0.0]),  # nothing was said of `sad`
    ]
    found = report(rows, EACH)
    assert found.accuracy.mean == pytest.approx(3 / 5)
    assert found.all_right is not None and found.all_right.mean == pytest.approx(1 / 3)
    assert [label.texts for label in found.labels] == [3, 2]
    # rude: 1 of 3, so never is right twice; sad: 1 of 2, so never is right once
    assert found.majority.mean == pytest.approx(3 / 5)
    assert found.table is None
    assert found.labels[0].confusion == (1, 1, 0, 1)


def test_texts_of_one_group_count_as_one() -> None:
    together = [one._replace(group=0) for one in ROWS]
    assert math.isnan(report(together, TWO).accuracy.standard_error)
    assert report(together, TWO).accuracy.interval.high - report(together, TWO).accuracy.interval.low > 0.5


@pytest.mark.parametrize(("rows", "labels"), [(ROWS, TWO), (ROWS[:1], TWO), ([row([1, 2], [0, 1], group=0)], EACH)])
def test_json_has_no_nan_and_lines_say_it_all(rows: list[Row], labels: Vocabulary, tmp_path: Path) -> None:
    found = report(rows, labels)
    text = json.dumps(found.to_json(), allow_nan=False)
    assert [one["label"] for one in json.loads(text)["labels"]] == list(labels.names)
    assert "nan" not in "\n".join([*found.lines(), *found.markdown()])
    draw(found, str(tmp_path / "report.png"))
    assert (tmp_path / "report.png").stat().st_size > 10_000
    with pytest.raises(StorageError, match="cannot be written"):
        draw(found, str(tmp_path / "none" / "report.png"))


def test_names_of_labels_do_not_break_the_table() -> None:
    found = report(ROWS, Vocabulary(("a|b", "c"), several=False))
    assert found.markdown()[-2].count("|") == 8 + 1 + 1 and "a\\|b" in found.markdown()[-2]
