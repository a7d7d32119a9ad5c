"""A reward service that fails in every way: tried again, then exit 5; what it did not say is never a reward."""

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from reward_service_double import Pauses, Reply, Service, elapsed, lengths, nobody, rewards_by, service

from accord.errors import ServiceError
from accord.records import Completion, Group, Message
from accord.stages import reward_service
from accord.stages.reward_service import RewardService

GROUPS = [
    Group("a", "one ?", (Completion(" x"), Completion(" yyy"))),
    Group("b", "two ?", (Completion(""), Completion(" a\u00e9\u4e2d"))),
    Group("c", "three ?", (Completion(" zz"),)),
]
LENGTHS = [2.0, 4.0, 0.0, 4.0, 3.0]
BY_LENGTH = rewards_by(lambda prompt, completion: len(completion))


def source(url: str, **settings: Any) -> RewardService:
    return RewardService("judge", url, **{"timeout": 5.0, "pause": Pauses(), **settings})


def test_every_completion_gets_its_number_by_the_protocol() -> None:
    with service(BY_LENGTH) as found:
        rewards = source(found.url).score(GROUPS)
    assert rewards.tolist() == LENGTHS and str(rewards.dtype) == "torch.float64"
    assert found.asked == [
        {
            "groups": [
                {"id": "a", "prompt": "one ?", "completions": [" x", " yyy"]},
                {"id": "b", "prompt": "two ?", "completions": ["", " a\u00e9\u4e2d"]},
                {"id": "c", "prompt": "three ?", "completions": [" zz"]},
            ]
        }
    ]
    assert found.headers[0]["path"] == "/score"
    assert found.headers[0]["Content-Type"] == "application/json" and "Authorization" not in found.headers[0]


def test_turns_are_lists_of_role_and_content() -> None:
    asks = (Message("system", "be brief"), Message("user", "hi"))
    chat = Group("a", asks, (Completion((Message("assistant", "ho"),)),))
    with service(rewards_by(lambda prompt, completion: -1.5)) as found:
        assert source(found.url).score([chat]).tolist() == [-1.5]
    (group,) = found.asked[0]["groups"]
    assert group["prompt"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    assert group["completions"] == [[{"role": "assistant", "content": "ho"}]]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_groups_go_in_requests_of_a_size(size: int) -> None:
    with service(BY_LENGTH) as found:
        assert source(found.url + "?key=1", groups=size, token="secret").score(GROUPS).tolist() == LENGTHS
    assert lengths(found.asked) == {1: [1, 1, 1], 2: [2, 1]}.get(size, [3])
    for headers in found.headers:
        assert headers["Authorization"] == "Bearer secret" and headers["path"] == "/score?key=1"


def answered(*rewards: Any) -> Reply:
    return Reply({"rewards": list(rewards)})


WHOLE = ([1.0, 2.0], [3.0, 4.0], [5.0])
FAULTS: dict[str, tuple[Reply, str]] = {
    "500": (Reply("out of memory", 500), "HTTP 500 Internal Server Error: out of memory"),
    "503": (Reply("", 503), "HTTP 503 Service Unavailable"),
    "429": (Reply("", 429), "HTTP 429 Too Many Requests"),
    "no JSON": (Reply("rewards"), "the answer is no JSON (Expecting value: line 1 column 1 (char 0))"),
    "empty": (Reply(""), "the answer is no JSON (Expecting value: line 1 column 1 (char 0))"),
    "deep": (Reply("[" * 100_000), "the answer is no JSON (maximum recursion depth"),
    "a list": (Reply([1.0]), 'the answer has no list "rewards"'),
    "another key": (Reply({"scores": list(WHOLE)}), 'the answer has no list "rewards"'),
    "too few groups": (answered(*WHOLE[:2]), "rewards of 2 groups for 3"),
    "too many groups": (answered(*WHOLE, [1.0]), "rewards of 4 groups for 3"),
    "too few of a group": (answered([1.0], *WHOLE[1:]), "1 rewards for the 2 completions of a"),
    "flat": (answered(1.0, 2.0, 3.0), "no list of rewards for the 2 completions of a"),
    "NaN": (Reply('{"rewards": [[1, 2], [3, NaN], [5]]}'), "NaN is no reward (a completion of b)"),
    "infinite": (Reply('{"rewards": [[1, 2], [3, 4], [-Infinity]]}'), "-Infinity is no reward (a completion of c)"),
    "beyond floats": (
        Reply(f'{{"rewards": [[1, 2], [3, 4], [1{"0" * 400}]]}}'),
        f"1{'0' * 59} is no reward (a completion of c)",
    ),
    "null": (answered([1.0, None], *WHOLE[1:]), "null is no reward (a completion of a)"),
    "text": (answered(["1.0", 2.0], *WHOLE[1:]), '"1.0" is no reward (a completion of a)'),
    "true": (answered([True, 2.0], *WHOLE[1:]), "true is no reward (a completion of a)"),
    "nested": (answered([[1.0], 2.0], *WHOLE[1:]), "[1.0] is no reward (a completion of a)"),
    "cut off": (Reply("{}", headers=(("Content-Length", "100"),)), "the answer ended 98 bytes too soon"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_lasts_ends_after_three_tries_and_names_the_url(fault: str) -> None:
    reply, reason = FAULTS[fault]
    pauses = Pauses()
    with service(reply) as found, pytest.raises(ServiceError) as raised:
        source(found.url + "?key=secret", pause=pauses).score(GROUPS)
    assert len(found.asked) == 3 and pauses == [1.0, 2.0]
    where, said = raised.value.where, str(raised.value)
    assert where == found.url and f"no rewards after 3 tries: {reason}" in said and "secret" not in said
    assert raised.value.code == 5 and "\n" not in said


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_changes_no_reward(fault: str) -> None:
    with service(FAULTS[fault][0], FAULTS[fault][0], BY_LENGTH) as found:
        assert source(found.url).score(GROUPS).tolist() == LENGTHS
    assert len(found.asked) == 3 and found.asked[0] == found.asked[2]


def test_a_refused_connection() -> None:
    pauses = Pauses()
    with pytest.raises(
        ServiceError, match=r"^http://127.0.0.1:\d+/score: no rewards after 3 tries: Connection refused"
    ):
        source(nobody(), pause=pauses).score(GROUPS)
    assert pauses == [1.0, 2.0]


def test_a_name_that_nobody_has() -> None:
    with pytest.raises(ServiceError, match=r"http://nobody.invalid/: no rewards after 1 try: "):
        source("http://nobody.invalid/", retries=0).score(GROUPS)


@pytest.mark.parametrize("reply", [Reply(hangs=60.0), Reply({"rewards": list(WHOLE)}, drips=0.15)])
def test_what_hangs_or_drips_is_left_when_its_time_is_over(reply: Reply) -> None:
    """The body of 41 bytes would drip for 6 s, each byte well within the time that is allowed."""

    def ask() -> None:
        with pytest.raises(ServiceError, match=r"no rewards after 2 tries: no whole answer within 0.4 s"):
            source(found.url, timeout=0.4, retries=1).score(GROUPS)

    with service(reply) as found:
        assert 0.7 < elapsed(ask) < 4


@pytest.mark.parametrize(("status", "reason"), [(400, "Bad Request"), (401, "Unauthorized"), (404, "Not Found")])
def test_a_mistake_of_ours_is_not_tried_again(status: int, reason: str) -> None:
    with service(Reply("no such path", status)) as found, pytest.raises(ServiceError) as raised:
        source(found.url).score(GROUPS)
    assert len(found.asked) == 1
    assert f"no rewards after 1 try: HTTP {status} {reason}: no such path" in str(raised.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status: int) -> None:
    with service(BY_LENGTH) as other:
        reply = Reply("", status, headers=(("Location", other.url),))
        with service(reply) as found, pytest.raises(ServiceError, match="which is not followed"):
            source(found.url, token="secret").score(GROUPS)
    assert other.asked == [] and len(found.asked) == 1


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with service(BY_LENGTH) as found, service(BY_LENGTH) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        assert source(found.url).score(GROUPS).tolist() == LENGTHS
    assert proxy.asked == []


def test_an_answer_without_end_is_not_read_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reward_service, "LARGEST", 1000)
    with service(Reply("x" * 1001)) as found, pytest.raises(ServiceError, match=r"more than 1,000 bytes"):
        source(found.url, retries=0).score(GROUPS)


def test_pauses_double_up_to_a_minute_and_reasons_that_differ_are_told() -> None:
    pauses = Pauses()
    replies = [Reply("", 500), Reply("", 502), Reply("", 500), Reply("no"), Reply("", 503)]
    with service(*replies) as found, pytest.raises(ServiceError) as raised:
        source(found.url, retries=9, backoff=0.5, pause=pauses).score(GROUPS)
    assert pauses == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    said = str(raised.value)
    assert "after 10 tries: HTTP 503 Service Unavailable; before that: HTTP 500 Internal Server Error; HTTP 502" in said


def test_a_later_request_that_fails_ends_all() -> None:
    """What the first requests brought is not made up with anything for the rest."""
    with service(BY_LENGTH, Reply("", 500)) as found, pytest.raises(ServiceError):
        source(found.url, groups=1, retries=1).score(GROUPS)
    assert lengths(found.asked) == [1, 1, 1]


@pytest.fixture(scope="module")
def example() -> Iterator[str]:
    """The URL of examples/reward_server.py, on a port that is free."""
    script = Path(__file__).resolve().parents[1] / "examples" / "reward_server.py"
    words = [sys.executable, "-I", str(script), "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()


def test_the_example_speaks_the_protocol(example: str) -> None:
    """Its reward: minus the distance from 50 characters, and -100 for a text without a full stop."""
    groups = [
        Group("a", "?", (Completion("x" * 49 + "."), Completion("x" * 60), Completion("."))),
        Group("b", (Message("user", "?"),), (Completion((Message("assistant", "x" * 39 + "."),)),)),
    ]
    assert source(example).score(groups).tolist() == [0.0, -110.0, -49.0, -10.0]


def test_the_example_says_what_is_no_request(example: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(example).netloc, timeout=5)
    connection.request("POST", "/score", json.dumps({"group": []}))
    response = connection.getresponse()
    assert response.status == 400 and b"groups" in response.read()
    connection.close()


def test_the_double_itself() -> None:
    """That faults above come from the answers, and not from a server that gives none."""
    with service(BY_LENGTH) as found:
        assert isinstance(found, Service) and found.url.startswith("http://127.0.0.1:")
        assert source(found.url, retries=0).score(GROUPS[:1]).tolist() == LENGTHS[:2]
