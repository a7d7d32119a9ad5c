"""Simulated annotators: what is put in comes out, over HTTP and straight on the database."""

import math
import random
from collections import Counter
from pathlib import Path

import pytest
from collect_server import Site, groups, make_site
from sqlalchemy import func, select

from accord.collect import people_model, projects
from accord.collect.people_model import Habits
from accord.collect.schema import account, judgement, token
from accord.collect.settings import Settings
from accord.collect.simulate import Done, Simulation, Truth, simulate
from accord.collect.simulated_report import Report, report
from accord.errors import InputError
from accord.records import Completion, Group


def labelled(
    url: str, count: int, simulation: Simulation, *, over_http: bool, k: int = 4, **of: object
) -> tuple[Site, Report]:
    made = make_site(url, annotators=(), given=groups(count, k), settings=Settings(**{"overlap": 3, **of}))
    with made.database.read() as connection:
        project = projects.find(connection, made.project)
    done, truth = simulate(made.database, project, simulation, over_http=over_http)
    return made, report(made.database, project, simulation, truth, done)


def test_over_http_all_that_goes_wrong_leaves_exactly_what_was_said(database_url: str) -> None:
    """Double clicks, lost connections, skips, by ten at once: every group has its three judgements, none twice."""
    simulation = Simulation(10, Habits(skips=0.05), double_clicks=0.2, lost_connections=0.2, seed=1)
    made, found = labelled(database_url, 30, simulation, over_http=True, skips_to_flag=100)
    assert found.overlap == (30, 0, 0, 0)
    assert found.done.submitted == found.judgements == 90
    assert found.done.doubled > 5 and found.done.lost > 5 and found.done.skipped > 0 and found.done.taken == 0
    assert made.rows(select(func.count()).select_from(judgement)) == [(90,)]
    assert made.rows(select(func.count()).select_from(token).where(token.c.name == "simulation")) == [(0,)]
    assert made.rows(select(func.count()).select_from(account).where(account.c.password.is_not(None))) == [(1,)]
    made.database.close()


def test_strengths_bias_and_agreement_come_out_as_put_in(tmp_path: Path) -> None:
    """Of 900 rankings: strengths within their intervals' reach, a bias of 0.5 logits seen as one."""
    simulation = Simulation(8, Habits(position_bias=0.5, skips=0.0), double_clicks=0.0, seed=3)
    made, found = labelled(f"sqlite:///{tmp_path / 'prefs.db'}", 300, simulation, over_http=False)
    assert found.overlap.exact == 300 and found.judgements == 900
    assert found.bias and abs(found.bias.found - 0.5) < 0.2 and found.bias.low > 0
    assert found.first and found.first.put_in > 0.56 and abs(found.first.found - found.first.put_in) < 0.04
    assert found.agreement and abs(found.agreement.found - found.agreement.put_in) < 0.04
    put_in = [one.put_in for one in found.strengths.values()]
    assert sorted(put_in) == pytest.approx([-1, -1 / 3, 1 / 3, 1])
    assert all(abs(one.found - one.put_in) < 0.25 for one in found.strengths.values())
    words = "\n".join(found.lines())
    assert "300 groups have exactly as many" in words and "strength of model-" in words
    assert found.to_json()["overlap"]["exact"] == 300
    made.database.close()


def test_a_text_of_two_models_says_nothing_of_either(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'prefs.db'}"
    group = Group("g", "p", (Completion("same", "a"), Completion("same", "b"), Completion("other", "b")))
    made = make_site(url, annotators=(), given=[group])
    truth = Truth(made.database, made.project, Simulation(1, strengths={"a": 1.0, "b": -1.0}))
    assert list(truth.of_item.values()) == [[0.0, 0.0, -1.0]]
    assert list(truth.models.values()) == [[None, None, "b"]]
    made.database.close()


@pytest.mark.parametrize("layout", ["pair", "rating", "thumbs", "demonstration"])
def test_every_layout_can_be_simulated(tmp_path: Path, layout: str) -> None:
    simulation = Simulation(2, Habits(skips=0.0))
    k = 2 if layout == "pair" else 3
    made, found = labelled(
        f"sqlite:///{tmp_path / 'prefs.db'}", 4, simulation, over_http=False, k=k, layout=layout, overlap=2
    )
    assert found.overlap.exact == 4 and (found.first is not None) == (layout == "pair")
    made.database.close()


def test_a_text_that_is_altered_on_the_way_is_noticed(tmp_path: Path) -> None:
    made = make_site(f"sqlite:///{tmp_path / 'prefs.db'}", annotators=(), given=groups(1))
    truth = Truth(made.database, made.project, Simulation())
    prompt = [{"role": "user", "text": groups(1)[0].prompt}]
    content = groups(1)[0].completions[1].content
    output = {"letter": "A", "turns": [{"role": "assistant", "text": content}]}
    page = {"number": 1, "prompt": prompt}
    assert truth.quality(page, output) == truth.of_item[1][1]
    with pytest.raises(InputError, match="no group has"):
        truth.quality(page, {"letter": "A", "turns": [{"role": "assistant", "text": f"{content} "}]})
    made.database.close()


def test_the_noise_is_that_of_bradley_and_terry() -> None:
    """P(first seems better) = sigma((gap + bias) / noise): sigma(1.2 / 0.8) = 0.8176."""
    chance, habits = random.Random(0), Habits(noise=0.8, position_bias=0.2)
    draws = [people_model.seen([1.0, 0.0], habits, chance) for _ in range(20_000)]
    share = sum(one > other for one, other in draws) / len(draws)
    assert share == pytest.approx(1 / (1 + math.exp(-1.2 / 0.8)), abs=0.01)


def test_ranks_of_what_is_seen() -> None:
    assert people_model.ranking([0.1, 2.0, 1.9, 1.75, -1.0], 0.2) == [[1, 2], [3], [0], [4]]
    assert people_model.ranking([1.0, 1.0], 0.0) == [[0], [1]]


def test_strengths_are_even_and_drawn_by_the_seed() -> None:
    found = people_model.strengths(["a", "b", "c"], 5)
    assert sorted(found.values()) == [-1, 0, 1] and found == people_model.strengths(["c", "a", "b"], 5)
    first = Counter(
        max(people_model.strengths(["a", "b", "c"], seed).items(), key=lambda pair: pair[1])[0] for seed in range(60)
    )
    assert set(first) == {"a", "b", "c"}


def test_ratings_use_the_whole_scale_and_no_more() -> None:
    assert [people_model.rating(value, 7) for value in (-900.0, 0.5, 900.0)] == [1, 4, 7]
    assert Done().submitted == 0
