"""A language model as a judge, against doubles that are good, biased, garbled, slow, failing, dear, or not there."""

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from chat_double import base, judge, pairs, prefers, says, shown
from reward_service_double import Reply, elapsed, nobody, service
from stage_runs import lines

from accord.errors import InputError, ServiceError, StorageError
from accord.evaluate.judges.k_way import ranked
from accord.evaluate.verdicts import Matched, Verdict
from accord.records import Completion, Group, Message

GOOD = prefers(lambda text: text.count("good"))
PAIRS = pairs(("good", "bad"), ("bad", "good"), ("good good", "good"))
EXPECTED = [1.0, 0.0, 1.0]


def outcomes(verdicts: list[Verdict]) -> list[float | None]:
    return [one.outcome for one in verdicts]


def test_who_wins_in_both_orders_wins() -> None:
    with service(GOOD) as found:
        verdicts = judge(found.url).judge(PAIRS)
    assert outcomes(verdicts) == EXPECTED
    assert [one.orders for one in verdicts] == [(1.0, 1.0), (0.0, 0.0), (1.0, 1.0)]
    assert {one.annotator for one in verdicts} == {"jury (pairwise)"}
    assert [shown(asked) for asked in found.asked[:2]] == [["good", "bad"], ["bad", "good"]]


def test_what_is_asked() -> None:
    with service(GOOD) as found:
        judge(found.url, token="secret").judge(PAIRS[:1])
    asked = found.asked[0]
    assert {key: value for key, value in asked.items() if key != "messages"} == {
        "model": "jury", "temperature": 0.0, "max_tokens": 1, "logprobs": True, "top_logprobs": 20,
    }  # fmt: skip
    assert [one["role"] for one in asked["messages"]] == ["system", "user"]
    assert "What is it 0 ?" in asked["messages"][1]["content"]
    assert found.headers[0]["path"] == "/v1/chat/completions"
    assert found.headers[0]["Authorization"] == "Bearer secret"


def test_a_conversation_is_shown_turn_by_turn() -> None:
    turns = (Message("user", "hi"), Message("assistant", "ho"), Message("user", "and ?"))
    chat = PAIRS[0]._replace(prompt=turns)
    with service(GOOD) as found:
        judge(found.url).judge([chat])
    assert "User: hi\n\nAssistant: ho\n\nUser: and ?" in found.asked[0]["messages"][1]["content"]


def test_a_judge_that_is_moved_by_place_gives_ties_and_no_wins() -> None:
    with service(says("m")) as found:
        verdicts = judge(found.url).judge(PAIRS)
    assert outcomes(verdicts) == [0.5] * 3 and {one.orders for one in verdicts} == {(1.0, 0.0)}


@pytest.mark.parametrize(("orders", "asked"), [("first", 3), ("random", 3), ("both", 6)])
def test_orders_that_are_asked_for(orders: str, asked: int) -> None:
    with service(GOOD) as found:
        verdicts = judge(found.url, orders=orders).judge(PAIRS)
    assert outcomes(verdicts) == EXPECTED and len(found.asked) == asked
    places = [[value is not None for value in one.orders or ()] for one in verdicts]
    assert all(sum(one) == asked // 3 for one in places)
    assert orders != "first" or places == [[True, False]] * 3


def test_verdicts_are_weighed_by_log_probabilities() -> None:
    """Shown first the new one has 0.8 / (0.8 + 0.1), shown second 0.3 / (0.3 + 0.6): the mean is 11/18."""
    replies = [says("m", {"m": 0.8, "M": 0.1, "x": 0.1}), says("m", {"m": 0.6, "M": 0.3})]
    with service(*replies) as found:
        (verdict,) = judge(found.url).judge(PAIRS[:1])
    assert verdict.outcome == pytest.approx((8 / 9 + 1 / 3) / 2)
    assert verdict.orders == pytest.approx((8 / 9, 1 / 3))


def test_a_first_token_that_is_no_label_is_no_verdict_however_likely_a_label_is() -> None:
    with service(says("The", {"The": 0.6, "m": 0.4})) as found:
        (verdict,) = judge(found.url).judge(PAIRS[:1])
    assert verdict.outcome is None and "'The' is not one of m, M" in str(verdict.failure)


def test_a_server_that_refuses_log_probabilities_is_asked_without_and_that_is_said_once() -> None:
    """As many servers: 5 are tried first, the most that some give."""
    said: list[str] = []
    asked: list[object] = []

    def answer(question: dict[str, Any]) -> Reply:
        asked.append(question.get("top_logprobs"))
        return Reply("no such option: top_logprobs", 422) if "logprobs" in question else GOOD(question)

    with service(answer) as found:
        assert outcomes(judge(found.url, say=said.append).judge(PAIRS)) == EXPECTED
    assert asked[:3] == [20, 5, None] and len(asked) == 8
    assert len(said) == 1 and "refuses to give log-probabilities, and is asked without" in said[0]


def test_a_server_that_gives_five_is_asked_for_five() -> None:
    def answer(question: dict[str, Any]) -> Reply:
        if question.get("top_logprobs") == 20:
            return Reply("top_logprobs must be at most 5", 400)
        return says("m", {"m": 0.9, "M": 0.1})

    with service(answer) as found:
        (verdict, *_) = judge(found.url).judge(PAIRS)
    assert verdict.orders == pytest.approx((0.9, 0.1))


GARBAGE = {
    "words": says("I think that m is better"),
    "nothing": says(""),
    "null": Reply({"choices": [{"message": {"content": None}}]}),
    "another label": says("A"),
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_is_a_failure_and_never_a_verdict(kind: str, tmp_path: Path) -> None:
    """Nor is it kept: a second run asks again, and may hear something better."""
    cache = tmp_path / "cache.jsonl"
    with service(GARBAGE[kind]) as found:
        verdicts = judge(found.url, cache=cache).judge(PAIRS)
        assert len(found.asked) == 6  # a reply that cannot be read is not asked for again
    assert outcomes(verdicts) == [None] * 3 and all("is not one of m, M" in str(one.failure) for one in verdicts)
    assert cache.read_text() == ""
    with service(GOOD) as found:
        assert outcomes(judge(found.url, cache=cache).judge(PAIRS)) == EXPECTED


def test_one_order_without_a_verdict_leaves_none() -> None:
    with service(says("m"), says("?"), says("M")) as found:
        verdicts = judge(found.url).judge(PAIRS[:2])
    assert outcomes(verdicts) == [None, 0.5] and verdicts[0].orders == (1.0, None)


FAULTS = {
    "500": Reply("out of memory", 500),
    "no JSON": Reply("<html>"),
    "no choices": Reply({"choices": []}),
    "a number": Reply({"choices": [{"message": {"content": 1}}]}),
    "cut off": Reply("{}", headers=(("Content-Length", "100"),)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_changes_nothing(fault: str) -> None:
    with service(FAULTS[fault], FAULTS[fault], GOOD) as found:
        assert outcomes(judge(found.url).judge(PAIRS)) == EXPECTED
    assert len(found.asked) == 8


@pytest.mark.parametrize("fault", FAULTS)
def test_a_question_that_fails_for_good_is_a_failure_and_the_others_go_on(fault: str) -> None:
    with service(*[FAULTS[fault]] * 3, GOOD) as found:
        verdicts = judge(found.url).judge(PAIRS)
    assert outcomes(verdicts) == [None, 0.0, 1.0] and "(3 tries)" in str(verdicts[0].failure)
    assert len(found.asked) == 8


def test_a_text_that_is_too_long_for_the_model_is_not_asked_again() -> None:
    with service(Reply("context length exceeded", 400), GOOD) as found:
        verdicts = judge(found.url).judge(PAIRS)
    assert outcomes(verdicts) == [None, 0.0, 1.0] and "context length exceeded" in str(verdicts[0].failure)
    assert len(found.asked) == 6


def test_a_slow_server_is_left_when_its_time_is_over() -> None:
    verdicts: list[Verdict] = []
    with service(Reply(hangs=30.0), GOOD) as found:
        slow = judge(found.url, timeout=0.3, retries=0)
        assert elapsed(lambda: verdicts.extend(slow.judge(PAIRS))) < 5
    assert outcomes(verdicts) == [None, 0.0, 1.0] and "no whole answer within 0.3 s" in str(verdicts[0].failure)


def test_a_server_that_asks_to_wait_is_waited_for() -> None:
    with service(Reply("slowly", 429, headers=(("Retry-After", "1"),)), GOOD) as found:
        begun = time.monotonic()
        assert outcomes(judge(found.url, workers=2).judge(PAIRS)) == EXPECTED
    assert 1 <= time.monotonic() - begun < 10


def test_a_server_that_asks_for_too_long_a_wait_is_not() -> None:
    with service(Reply("tomorrow", 429, headers=(("Retry-After", "86400"),))) as found:
        with pytest.raises(ServiceError, match=r"asks to be left alone for 86,400 s"):
            judge(found.url).judge(PAIRS)
    assert len(found.asked) == 1


def test_pauses_grow_up_to_a_minute() -> None:
    from accord.evaluate.judges.asking import Patience

    assert [Patience(9, 0.5).wait(failed) for failed in range(1, 10)] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_every_question_would_get_ends_all_at_once(status: int) -> None:
    with service(Reply("no", status)) as found, pytest.raises(ServiceError, match=f"no judge: HTTP {status}"):
        judge(found.url).judge(PAIRS)
    assert len(found.asked) == 1


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(ServiceError) as raised:
        judge(nobody(), workers=4).judge(PAIRS)
    assert raised.value.code == 5 and "no judge: Connection refused (3 tries)" in str(raised.value)


def test_a_server_that_fails_question_after_question_is_given_up() -> None:
    many = pairs(*[("good", "bad")] * 20)
    with service(Reply("busy", 503)) as found, pytest.raises(ServiceError) as raised:
        judge(found.url, retries=0).judge(many)
    assert len(found.asked) == 10 and "10 questions one after another in vain" in str(raised.value)


def test_an_outage_keeps_what_was_judged_and_the_next_run_goes_on(tmp_path: Path) -> None:
    cache, many = tmp_path / "cache.jsonl", pairs(*[("good", f"bad {i}") for i in range(10)])
    with service(*[GOOD] * 7, Reply("down", 503)) as found:
        with pytest.raises(ServiceError, match=r"goes on where it was \(kept: .*cache.jsonl\)"):
            judge(found.url, cache=cache, retries=0).judge(many)
    assert len(lines(cache)) == 7
    with service(GOOD) as found:
        assert outcomes(judge(found.url, cache=cache).judge(many)) == [1.0] * 10
    assert len(found.asked) == 13


def test_the_cache_is_by_content(tmp_path: Path) -> None:
    """The same question is not asked again; one with another text, parameter or model is."""

    def asked(compared: list[Matched], **settings: Any) -> int:
        with service(GOOD) as found:
            judge(found.url, cache=tmp_path / "cache.jsonl", **settings).judge(compared)
        return len(found.asked)

    assert asked(PAIRS) == 6 and asked(PAIRS) == 0 and asked(PAIRS, orders="first") == 0
    assert asked(pairs(("good", "worse"))) == 2 and asked(pairs(("good", "bad"), prompt="Who is it")) == 2
    assert asked(PAIRS, parameters={"temperature": 0.5}) == 6 and asked(PAIRS, parameters={"model": "other"}) == 6
    assert asked(PAIRS) == 0


def test_another_template_asks_again(tmp_path: Path) -> None:
    cache = tmp_path / "cache.jsonl"
    own = tmp_path / "own.jinja"
    text = "kind: pairwise\nversion: 1\nverdict: token\nlabels: [m, M]\nmax_tokens: 1\n===== user\n"
    shows = "<answer of m>\n{{ first }}\n</answer of m>\n<answer of M>\n{{ second }}\n</answer of M>\n"
    counts = []
    for words in ("Which ?", "Which ?", "Which one ?"):
        own.write_text(text + shows + words)
        with service(GOOD) as found:
            judge(found.url, name=str(own), cache=cache).judge(PAIRS)
        counts.append(len(found.asked))
    assert counts == [6, 0, 6]


def test_a_line_that_was_cut_is_left_aside(tmp_path: Path) -> None:
    cache = tmp_path / "cache.jsonl"
    with service(GOOD) as found:
        judge(found.url, cache=cache).judge(PAIRS)
    whole = cache.read_bytes()
    cache.write_bytes(whole[:-40])
    with service(GOOD) as found:
        again = judge(found.url, cache=cache)
        assert outcomes(again.judge(PAIRS)) == EXPECTED
        assert len(found.asked) == 1 and again.asking.cache.broken == 1
    with service(GOOD) as found:
        judge(found.url, cache=cache).judge(PAIRS)
    assert found.asked == [] and len(cache.read_bytes().splitlines()) == 7


def test_the_key_is_written_nowhere(tmp_path: Path) -> None:
    with service(GOOD) as found:
        judge(found.url, cache=tmp_path / "cache.jsonl", token="secret").judge(PAIRS)
    assert "secret" not in (tmp_path / "cache.jsonl").read_text()


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="verdicts cannot be kept here"):
        judge("http://127.0.0.1:1/score", cache=tmp_path / "file" / "cache.jsonl")


KILLED = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from typing import Any
from chat_double import judge, pairs
judge({url!r}, cache=Path({cache!r}), workers=4).judge(pairs(*[("good", f"bad {{i}}") for i in range(20)]))
"""


def test_a_run_that_is_killed_pays_for_nothing_twice(tmp_path: Path) -> None:
    """kill -9 while 4 workers ask; what they had heard by then is there afterwards."""
    cache, many = tmp_path / "cache.jsonl", pairs(*[("good", f"bad {i}") for i in range(20)])
    is_far = threading.Event()

    def slowly(asked: dict[str, Any]) -> Reply:
        if cache.exists() and len(cache.read_bytes().splitlines()) >= 6:
            is_far.set()
        time.sleep(0.02)
        return GOOD(asked)

    with service(slowly) as found:
        program = KILLED.format(path=sys.path, url=found.url, cache=str(cache))
        with subprocess.Popen([sys.executable, "-c", program]) as process:
            assert is_far.wait(60)
            process.send_signal(signal.SIGKILL)
    kept = {row["key"] for row in lines(cache)}
    assert 6 <= len(kept) < 40
    with service(GOOD) as found:
        assert outcomes(judge(found.url, cache=cache).judge(many)) == [1.0] * 20
    assert len(found.asked) == 40 - len(kept)


def test_questions_go_at_the_same_time() -> None:
    """The server answers none before four have come."""
    together = threading.Barrier(4, timeout=20)

    def wait(asked: dict[str, Any]) -> Reply:
        together.wait()
        return GOOD(asked)

    many = pairs(*[("good", f"bad {i}") for i in range(6)])
    with service(wait) as found:
        assert outcomes(judge(found.url, workers=4).judge(many)) == [1.0] * 6
    assert len(found.asked) == 12


def test_equal_questions_are_asked_once() -> None:
    same = [PAIRS[0]._replace(id=f"p{i}") for i in range(5)]
    with service(GOOD) as found:
        assert outcomes(judge(found.url, workers=4).judge(same)) == [1.0] * 5
    assert len(found.asked) == 2


def test_it_stops_when_enough_was_paid_and_goes_on_with_more(tmp_path: Path) -> None:
    """Each question costs 100 tokens: 5 are within 550, the sixth is not."""
    cache, many = tmp_path / "cache.jsonl", pairs(*[("good", f"bad {i}") for i in range(10)])
    with service(GOOD) as found:
        poor = judge(found.url, cache=cache, max_cost=550, workers=4)
        verdicts = poor.judge(many)
    assert len(found.asked) == 5 and outcomes(verdicts).count(1.0) == 2
    assert sum(not one.asked for one in verdicts) == 8
    said = list(poor.lines())
    assert "5 questions for 500 tokens (450 of prompts, 50 of replies); 0 from the cache" in said[0]
    assert "stopped at --max_cost 550" in said[1]
    with service(GOOD) as found:
        rich = judge(found.url, cache=cache, max_cost=100_000)
        assert outcomes(rich.judge(many)) == [1.0] * 10
    assert len(found.asked) == 15 and "15 questions" in next(iter(rich.lines()))


def test_tokens_that_the_server_does_not_count_are_guessed_and_that_is_said() -> None:
    with service(says("m", usage=None)) as found:
        found_judge = judge(found.url)
        found_judge.judge(PAIRS[:1])
        line, *_ = found_judge.lines()
    characters = [sum(len(one["content"]) for one in asked["messages"]) for asked in found.asked]
    prompt = sum(-(-count // 4) for count in characters)
    assert f"{prompt + 2:,} tokens ({prompt:,} of prompts, 2 of replies, guessed from characters" in line


def test_reasoning_ends_with_a_verdict() -> None:
    with service(says("A is short. [[B]]"), says("Both. [[C]]")) as found:
        verdicts = judge(found.url, name="pairwise_reasoning").judge(PAIRS[:1])
        assert verdicts[0].orders == (0.0, 0.5) and verdicts[0].outcome == 0.5
    assert "logprobs" not in found.asked[0] and found.asked[0]["max_tokens"] == 1024


@pytest.mark.parametrize("name", ["rating", "rating_turns"])
def test_the_better_rated_answer_wins_and_equal_ratings_tie(name: str) -> None:
    """Each answer is asked about once, though `same` stands in two pairs."""
    ratings = {"fine": 8, "poor": 3, "same": 8, "mute": 0}

    def rate(asked: dict[str, Any]) -> Reply:
        text = asked["messages"][-1]["content"]
        return says(f"So so. [[{next(value for word, value in ratings.items() if word in text)}]]")

    compared = [PAIRS[0]._replace(id=str(i)) for i in range(4)]
    texts = [("fine", "poor"), ("poor", "same"), ("fine", "same"), ("mute", "fine")]
    compared = [
        one._replace(first=one.first._replace(text=first), second=one.second._replace(text=second))
        for one, (first, second) in zip(compared, texts, strict=True)
    ]
    with service(rate) as found:
        verdicts = judge(found.url, name=name).judge(compared)
    assert outcomes(verdicts) == [1.0, 0.0, 0.5, None] and {one.orders for one in verdicts} == {None}
    assert len(found.asked) == 4 and "[[0]] is no rating" in str(verdicts[3].failure)


def test_a_ranking_of_two_is_a_comparison() -> None:
    def order(asked: dict[str, Any]) -> Reply:
        first, second = (text.count("good") for text in shown(asked))
        return says("[[A = B]]" if first == second else "[[A > B]]" if first > second else "[[B > A]]")

    with service(order) as found:
        compared = [*PAIRS, *pairs(("good", "good !"), prompt="Else")]
        assert outcomes(judge(found.url, name="ranking").judge(compared)) == [*EXPECTED, 0.5]


def group(*texts: str) -> Group:
    return Group("g", "why ?", tuple(Completion(text, f"model {i}") for i, text in enumerate(texts)))


def test_several_answers_are_put_in_order_in_two_orders() -> None:
    """Ranks are of the answers as the group has them, however they are shown."""

    def order(asked: dict[str, Any]) -> Reply:
        scores = [text.count("good") for text in shown(asked)]
        places = sorted(range(len(scores)), key=lambda place: -scores[place])
        return says("Well. [[" + " > ".join("ABCD"[place] for place in places) + "]]")

    groups = [group("good", "good good good", "bad", "good good"), group("bad", "good", "good good", "good " * 3)]
    with service(order) as found:
        answers = ranked(judge(found.url, name="ranking"), groups)
    assert [one.judgement and one.judgement.ranks for one in answers] == [(3, 1, 4, 2), (4, 3, 2, 1)]
    assert len(found.asked) == 4 and shown(found.asked[0]) == shown(found.asked[1])[::-1]
    assert answers[0].judgement is not None and answers[0].judgement.annotator == "jury (ranking)"


def test_an_order_that_is_only_the_place_is_a_tie() -> None:
    with service(says("[[A > B > C]]")) as found:
        (answer,) = ranked(judge(found.url, name="ranking"), [group("a", "b", "c")])
    assert answer.judgement is not None and answer.judgement.ranks == (1, 1, 1)


def test_an_order_that_is_none_is_a_failure() -> None:
    with service(says("[[A > B]]")) as found:
        (answer,) = ranked(judge(found.url, name="ranking"), [group("a", "b", "c")])
    assert answer.judgement is None and "is no order of A, B, C" in answer.failure


def test_what_cannot_be_ranked() -> None:
    with pytest.raises(InputError, match="pairwise is a pairwise template"):
        ranked(judge("http://127.0.0.1:1/score"), [group("a", "b")])
    with pytest.raises(InputError, match="1 completions to rank"):
        ranked(judge("http://127.0.0.1:1/score", name="ranking"), [group("a")])


def test_the_double_itself() -> None:
    """That it reads questions, and that its replies are what a server's are."""
    with service(GOOD) as found:
        judge(found.url).judge(PAIRS[:1])
    assert shown(found.asked[0]) == ["good", "bad"] and base(found.url).endswith("/v1")
    assert json.loads(json.dumps(says("m").body))["choices"][0]["message"]["content"] == "m"
