"""What people judge beyond an order: completions kept out, both bad, notes, times, texts of their own."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from accord.data.census import holds
from accord.data.check import orders as says_an_order
from accord.data.choose import (
    Labelled,
    Pair,
    Ranking,
    best,
    demonstration,
    labelled,
    orders,
    pairs,
    rankings,
    standing,
    worst,
)
from accord.data.formats import FORMATS, to_group, to_rows
from accord.data.join import permuted
from accord.data.outcomes import Count, Rule, outcomes
from accord.data.read import read_groups
from accord.data.read_opinions import _of_those_shown_first, _sayings
from accord.data.report import DataReport, Refusals
from accord.data.reward_bench import bench_items
from accord.data.table import mark_of, said_from, said_to_json
from accord.data.tally import Tally
from accord.data.verdicts import Reading, read_verdicts
from accord.maths.ranking import ranking_nll
from accord.records import Completion, Group, Judgement, Message, Origin, RecordError
from accord.stages.reward_pairs import Gathering, Scored

OUT = Judgement(ranks=(2, None, 1), ratings=(3.0, 9.0, 5.0))  # the middle one is rated best and kept out
KEPT_FIRST = Judgement(ranks=(None, 1, 2), ratings=(1.0, 5.0, 3.0))  # ... the first one is rated worst and kept out


def group(*judgements: Judgement, k: int = 3, models: str = "") -> Group:
    completions = tuple(Completion(text, models[i : i + 1] or None) for i, text in enumerate("abcdefgh"[:k]))
    return Group("1", "p ", completions, judgements, source=Origin("rows.jsonl", 7))


def test_what_was_kept_out_is_in_no_pair() -> None:
    # two are left, so the one pair has all the weight, whatever the rating of the one kept out
    assert pairs(group(OUT)) == (Pair(2, 0, 1.0, None),)
    assert pairs(group(KEPT_FIRST)) == (Pair(1, 2, 1.0, None),)
    assert [(one.first, one.second, one.weight) for one in outcomes(group(OUT))] == [(2, 0, 1.0)]
    assert Count.of([group(OUT)]).pairs == 1
    assert pairs(group(Judgement(ranks=(1, None)), k=2)) == ()


def test_soft_labels_leave_it_out_though_it_has_a_rating() -> None:
    (one,) = outcomes(group(OUT), Rule(rating_scale=1.0))
    assert (one.first, one.second) == (2, 0) and one.target == pytest.approx(1 / (1 + np.exp(-2.0)))


def test_it_is_never_the_best_nor_the_worst() -> None:
    assert (best(group(OUT)), worst(group(OUT))) == (2, 0)
    assert (best(group(KEPT_FIRST)), worst(group(KEPT_FIRST))) == (1, 2)
    # equals: the others have no wins and no losses, as what was kept out would have
    tied = group(Judgement(ranks=(None, 1, 1)))
    assert (best(tied), worst(tied)) == (1, 1)
    assert demonstration(group(Judgement(ranks=(None, 1)), k=2)).completions == (Completion("b"),)


def test_kept_out_by_one_and_judged_by_another() -> None:
    both = group(Judgement(ranks=(None, 1, 2)), Judgement(ranks=(1, 2, 3)))
    # wins less losses: a 2 (of one), b 1 + 0, c -1 - 2
    assert (best(both), worst(both)) == (0, 2)
    assert sum(pair.weight for pair in pairs(both)) == pytest.approx(1.0)
    assert [pair.weight for pair in pairs(both)] == pytest.approx([1 / 2, 1 / 6, 1 / 6, 1 / 6])


def test_one_that_keeps_out_all_others_has_no_share_of_the_weight() -> None:
    found = pairs(group(Judgement(ranks=(1, None, None)), Judgement(ranks=(1, 2, 3))))
    assert sum(pair.weight for pair in found) == pytest.approx(1.0)
    assert orders(group(Judgement(ranks=(None, None, None), ratings=(1.0, 2.0, 3.0)))) == []


def test_a_single_one_that_was_kept_out_is_no_demonstration() -> None:
    with pytest.raises(RecordError, match="kept out"):
        demonstration(group(Judgement(ranks=(None,)), k=1))
    with pytest.raises(RecordError, match="no ranks or ratings say which is best"):
        demonstration(group(Judgement(ranks=(None, None, None))))


def test_it_is_neither_good_nor_bad() -> None:
    # ranks 1 and 2 of three, the mean is of those two
    assert labelled(group(OUT)) == (Labelled(0, False, 0.5), Labelled(2, True, 0.5))


def test_a_ranking_of_the_others_is_unaffected() -> None:
    assert rankings(group(OUT)) == (Ranking((2, 0, 1), 1.0),)
    assert rankings(group(Judgement(ranks=(None, 1, 1)))) == ()
    reward = torch.tensor([[0.3, 50.0, -1.2]])
    alone = ranking_nll(torch.tensor([[0.3, -1.2]]), torch.tensor([[2, 1]]))
    torch.testing.assert_close(ranking_nll(reward, torch.tensor([rankings(group(OUT))[0].ranks])), alone)


def test_models_that_were_kept_out_are_not_compared() -> None:
    for whole in (False, True):
        tally = Tally()
        read_verdicts([group(OUT, models="xyz")], tally, Refusals("error", DataReport()), Reading(whole=whole))
        assert set(tally.models.number) == {"x", "z"}


def test_raters_agree_on_what_both_put_in_order() -> None:
    said = {(one.question, one.item[1:]): one.value for one in _sayings(("p",), ["x", "y", "z"], OUT)}
    assert said[("verdicts", ("x", "z"))] == -1.0
    assert ("verdicts", ("x", "y")) not in said and ("verdicts", ("y", "z")) not in said
    assert not [key for key in said if key[0] == "rankings"]  # of two that are left
    shown = replace(OUT, shown=(3, 1, 2))
    assert list(_of_those_shown_first(["x", "y", "z"], shown)) == [1.0]  # z stood before x and won


def test_a_benchmark_leaves_it_out() -> None:
    (item,) = bench_items([group(OUT)])
    assert [one.content for one in item.group.completions] == ["c", "a"]


def test_figures_of_a_reward_model_leave_it_out() -> None:
    found = Gathering()
    for judgement in (OUT, Judgement(ranks=(1, 2, 2))):
        found.add(Scored(group(judgement), (0.0, 9.0, 1.0), (1, 1, 1)))
    # of the first judgement c against a, of the other a against b and c (b and c tie)
    assert found.columns.pairs.gap.tolist() == [1.0, -9.0, -1.0, 8.0]
    assert len(found.columns.rankings.weight) == 1


def test_check_sees_an_order_among_the_others_only() -> None:
    assert says_an_order(OUT) and not says_an_order(Judgement(ranks=(1, None))) and standing(OUT) == {0: -2, 2: -1}


ALL = Judgement(
    ranks=(1, None, 1),
    ratings=(1.0, 2.0, 3.0),
    annotator="anna",
    flags={"both_bad": (True, True, True), "sexual": (False, True, None)},
    shown=(3, 1, 2),
    notes=("", "cut off", ""),
    seconds=12.5,
    written="so",
    settled=True,
)


def test_the_group_format_holds_it_all() -> None:
    rows, lost = to_rows(FORMATS["group"], group(ALL))
    assert lost == []
    (back,) = read_groups(json.loads(json.dumps(rows)))
    assert back.judgements == (ALL,) and back.judgements[0].notes == ("", "cut off", "")
    assert rows[0]["judgements"][0]["ranks"] == (1, None, 1) and rows[0]["judgements"][0]["settled"] is True


def test_other_formats_say_what_they_lose() -> None:
    _, lost = to_rows(FORMATS["ranking"], group(ALL))
    assert {"notes", "times", "texts that annotators wrote", "which judgement settles"} <= set(lost)
    _, lost = to_rows(FORMATS["comparison"], group(OUT))
    assert "a" in to_rows(FORMATS["comparison"], group(OUT))[0][0]["rejected"]


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ({"notes": ["a"]}, "notes: 1 entries for 2 completions"),
        ({"notes": ["a", 3]}, r"notes\[1\]: expected text, got a number"),
        ({"seconds": -1}, "seconds: -1 is less than no time"),
        ({"written": 3}, "written: expected text, got a number"),
        ({"settled": "yes"}, "settled: expected true or false, got text"),
        ({"ranks": [0, None]}, r"ranks\[0\]: 0 is no rank"),
    ],
)
def test_what_is_refused(said: dict[str, object], what: str) -> None:
    columns = {"prompt": "p", "completions": ["a", "b"], "judgements": [said]}
    with pytest.raises(RecordError, match=r"judgements\[0\]\." + what):
        to_group(FORMATS["group"], columns, Origin("rows.jsonl", 1))


def test_zero_seconds_and_a_margin_of_zero_are_said() -> None:
    assert Judgement(seconds=0.0, margin=0.0).said == {"seconds": 0.0, "margin": 0.0}
    assert Judgement().said == {}


def test_judgements_of_other_orders_carry_their_notes_along() -> None:
    turned = permuted(ALL, (2, 1, 0))
    assert turned.notes == ("", "cut off", "") and permuted(ALL, (1, 0, 2)).notes == ("cut off", "", "")
    assert permuted(ALL, (1, 0, 2)).ranks == (None, 1, 1) and turned.written == "so"


def test_kept_with_tokens_and_in_no_fingerprint() -> None:
    assert said_from(json.loads(json.dumps(said_to_json(group(ALL).said)))).judgements == (ALL,)
    bare = replace(ALL, shown=None, notes=None, seconds=None, written=None, settled=False)
    assert repr(bare) == repr(ALL)
    tokens = type("Tokens", (), {"prompt": np.zeros(1, np.int32), "completions": ()})
    one, other, out = tokens(), tokens(), tokens()
    one.group, other.group, out.group = (group(said).said for said in (ALL, bare, replace(ALL, ranks=(1, 2, 1))))
    assert mark_of(one) == mark_of(other) != mark_of(out)


def test_a_text_that_an_annotator_wrote_is_the_demonstration() -> None:
    first, second = Judgement(written="one", annotator="a"), Judgement(written="two", annotator="b")
    assert demonstration(group(first, second, k=0)).completions == (Completion("one"),)
    assert demonstration(group(first, replace(second, settled=True), k=0)).completions == (Completion("two"),)
    assert demonstration(group(Judgement(ranks=(1, 2, 3)), first)).completions == (Completion("one"),)
    turns = replace(group(first, k=0), prompt=(Message("user", "p"),))
    assert demonstration(turns).completions == (Completion((Message("assistant", "one"),)),)
    assert holds(group(first, k=0)) == "demonstration" and holds(group(k=0)) == "prompt"


def test_a_prompt_with_a_text_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "p", "completions": [], "judgements": [{"written": "so", "annotator": "a"}]}\n')
    (one,) = read_groups(path)
    assert one.completions == () and one.judgements == (Judgement(written="so", annotator="a"),)
    (row,), lost = to_rows(FORMATS["demonstration"], one)
    assert (row["completion"], lost) == ("so", ["what annotators said beside the one text that is taken"])
