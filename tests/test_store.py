"""The store on disk: many writers at once, a bounded size, damage of every kind, full and forbidden disks."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from accord.errors import IntegrityError
from accord.models import sealed
from accord.models.reference import GroupLogprobs
from accord.models.store import ABANDONED, OVERHEAD, Store, remove

ROOT = Path(__file__).resolve().parents[1]
MODEL, OTHER = "a" * 64, "b" * 64
ABOUT = {"name": "tiny", "dtype": "float32"}


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def values(number: int, *lengths: int) -> GroupLogprobs:
    return tuple(torch.arange(length, dtype=torch.float32) + number for length in lengths)


def same(found: Mapping[bytes, GroupLogprobs], expected: Mapping[bytes, GroupLogprobs]) -> bool:
    return found.keys() == expected.keys() and all(
        len(found[one]) == len(expected[one]) and all(map(torch.equal, found[one], expected[one])) for one in expected
    )


class Said(list[str]):
    def __call__(self, text: str) -> None:
        self.append(text)


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def store(tmp_path: Path, said: Said) -> Store:
    return Store(tmp_path / "cache", 1_000_000, said)


def test_what_was_kept_is_found_to_the_bit(store: Store) -> None:
    kept = {key(1): values(1, 3, 5), key(2): values(2, 0, 4, 1), key(3): values(3)}
    store.keep(MODEL, ABOUT, kept)
    assert same(store.find(MODEL, kept), kept)
    assert same(store.find(MODEL, [key(2), key(9)]), {key(2): kept[key(2)]})
    assert store.find(OTHER, kept) == {}
    assert store.find(MODEL, []) == {}


def test_values_of_several_runs_are_found_together(store: Store) -> None:
    for number in range(4):
        store.keep(MODEL, ABOUT, {key(number): values(number, 2)})
    assert same(store.find(MODEL, map(key, range(9))), {key(n): values(n, 2) for n in range(4)})
    assert [(entry.groups, entry.tokens, entry.about["name"]) for entry in store.entries()] == [(1, 2, "tiny")] * 4


def test_what_is_not_finite_is_not_kept(store: Store) -> None:
    store.keep(MODEL, ABOUT, {key(1): (torch.tensor([1.0, float("nan")]),), key(2): values(2, 1)})
    store.keep(MODEL, ABOUT, {key(3): (torch.tensor([float("-inf")]),)})
    assert store.find(MODEL, map(key, range(5))).keys() == {key(2)}
    assert len(store.entries()) == 1


# Of each store, each of three processes writes 12 files, while all read what is there.
WRITERS = """
import os, sys
from pathlib import Path
import torch
from accord.models.store import Store

torch.set_num_threads(1)
roots, limits, damage = map(Path, sys.argv[1::2]), map(int, sys.argv[2::2]), []
for root, limit, number in [(*one, number) for one in zip(roots, limits) for number in range(3)]:
    if os.fork() == 0:
        store = Store(root, limit, damage.append)
        for turn in range(12):
            place = 12 * number + turn
            store.keep("a" * 64, {}, {place.to_bytes(32, "big"): (torch.full((200,), float(place)),)})
            for group, (held,) in store.find("a" * 64, [n.to_bytes(32, "big") for n in range(36)]).items():
                assert (held == int.from_bytes(group, "big")).all() and len(held) == 200
            store.sweep()
        os._exit(1 if damage else 0)
print(*(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(6)))
"""


def test_processes_that_write_at_once_lose_nothing_and_see_nothing_half_written(tmp_path: Path, said: Said) -> None:
    """With room for all of them, and with room for four, so that each removes what others read."""
    wide, tight = Store(tmp_path / "wide", 10_000_000, said), Store(tmp_path / "tight", 20_000, said)
    words = [str(word) for one in (wide, tight) for word in (one.root, one.limit)]
    done = subprocess.run([sys.executable, "-c", WRITERS, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["0"] * 6, done.stderr
    for one, least, most in ((wide, 36, 36), (tight, 1, 20)):
        found = one.find(MODEL, map(key, range(36)))
        assert all(
            torch.equal(held, torch.full((200,), float(int.from_bytes(name, "big")))) for name, (held,) in found.items()
        )
        assert least <= len(found) <= most
        assert not list(one.root.rglob("*.tmp"))
    assert said == []


def aged(store: Store, *hours: float) -> None:
    """The files, in the order in which they were written, as if last used so long ago."""
    for entry, ago in zip(store.entries(), hours, strict=True):
        os.utime(entry.path, (time.time() - 3600 * ago,) * 2)


def test_the_longest_unused_goes_first(store: Store, said: Said) -> None:
    tight = Store(store.root, 3 * (OVERHEAD + 4 * 1000), said)
    for number in range(3):
        tight.keep(MODEL, ABOUT, {key(number): values(number, 1000)})
        aged(tight, *range(3 - number + 1, 3 - number + 1 - number - 1, -1))
    tight.find(MODEL, [key(0)])  # used just now
    tight.keep(OTHER, ABOUT, {key(7): values(7, 2000)})
    assert tight.find(MODEL, map(key, range(3))).keys() == {key(0), key(2)}
    assert tight.find(OTHER, [key(7)]).keys() == {key(7)}
    assert sum(entry.size for entry in tight.entries()) <= tight.limit
    assert said == []


def test_what_is_larger_than_the_limit_is_refused_and_nothing_goes_for_it(store: Store, said: Said) -> None:
    store.keep(MODEL, ABOUT, {key(1): values(1, 10)})
    with pytest.raises(OSError, match="more than the cache may hold"):
        Store(store.root, 10_000, said).keep(MODEL, ABOUT, {key(2): values(2, 4000)})
    assert store.find(MODEL, [key(1)])


def test_half_of_the_free_disk_is_left(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 10_000})
    monkeypatch.setattr("shutil.disk_usage", lambda place: usage)
    with pytest.raises(OSError, match="No space left"):
        store.keep(MODEL, ABOUT, {key(1): values(1, 2000)})
    store.keep(MODEL, ABOUT, {key(1): values(1, 10)})


def test_a_disk_that_fills_up_while_writing_leaves_nothing_behind(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = os.write

    def full(number: int, data: bytes) -> int:
        exact(number, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        store.keep(MODEL, ABOUT, {key(1): values(1, 10)})
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def damages(data: bytes) -> dict[str, bytes]:
    """Cut at many places, each eighth byte with a bit turned, emptied, lengthened, exchanged."""
    cuts = {f"cut to {end}": data[:end] for end in (0, 4, 8, 40, len(data) // 2, len(data) - 1)}
    turned = {
        f"bit of byte {place}": data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]
        for place in range(0, len(data), 8)
    }
    return {**cuts, **turned, "longer": data + b"x", "noise": os.urandom(len(data)), "text": b"not a tensor in sight"}


def test_every_damage_is_noticed_dropped_and_said_once(store: Store, said: Said) -> None:
    store.keep(MODEL, ABOUT, {key(1): values(1, 3, 4)})
    (entry,) = store.entries()
    data = entry.path.read_bytes()
    for what, damaged in damages(data).items():
        entry.path.write_bytes(damaged)
        found = store.find(MODEL, [key(1)])
        if found:  # what was turned is the padding of the header, or spells the same
            assert same(found, {key(1): values(1, 3, 4)}), what
            continue
        store.find(MODEL, [key(1)])
        # A damaged name of a group is not looked at further: it is nobody's.
        assert len(said) == (0 if entry.path.exists() else 1), what
        assert not said or f"file of the cache is damaged, and its values are computed anew: {entry.path}" in said[0]
        said.clear()
    with pytest.raises(IntegrityError):
        entry.path.write_bytes(data[:-1])
        sealed.read(entry.path)


def test_a_file_of_another_model_is_damage(store: Store, said: Said) -> None:
    store.keep(OTHER, ABOUT, {key(1): values(1, 3)})
    (entry,) = store.entries()
    moved = store.root / "reference" / MODEL / entry.path.name
    moved.parent.mkdir()
    entry.path.rename(moved)
    assert store.find(MODEL, [key(1)]) == {}
    assert len(said) == 1 and "of another model" in said[0]


def test_what_killed_writers_left_is_swept_and_what_live_ones_write_is_not(store: Store) -> None:
    store.keep(MODEL, ABOUT, {key(1): values(1, 3)})
    place = store.entries()[0].path.parent
    dead, alive = place / ".dead.tmp", place / ".alive.tmp"
    for path in (dead, alive):
        path.write_bytes(b"half")
    os.utime(dead, (time.time() - ABANDONED - 60,) * 2)
    store.keep(MODEL, ABOUT, {key(2): values(2, 3)})
    assert not dead.exists() and alive.exists()


def test_removing_leaves_foreign_files_alone(store: Store) -> None:
    store.keep(MODEL, ABOUT, {key(1): values(1, 3)})
    store.keep(OTHER, ABOUT, {key(1): values(1, 3)})
    foreign = [store.root / "notes.txt", store.root / "reference" / "model.safetensors"]
    foreign.append(store.root / "reference" / OTHER / "mine.txt")
    (store.root / "reference" / "home").mkdir()
    foreign.append(store.root / "reference" / "home" / "model.safetensors")
    for path in foreign:
        path.write_text("mine")
    entries = store.entries()
    assert remove(entries) == sum(entry.size for entry in entries) > 0
    assert remove(entries) > 0  # another process was faster
    assert all(path.exists() for path in foreign)
    assert not (store.root / "reference" / MODEL).exists()
    assert store.entries() == []


def test_a_damaged_file_is_listed_and_can_be_removed(store: Store) -> None:
    store.keep(MODEL, ABOUT, {key(1): values(1, 3)})
    store.entries()[0].path.write_bytes(b"")
    (entry,) = store.entries()
    assert (entry.about["name"], entry.groups, entry.key) == ("damaged", 0, MODEL)
    remove([entry])
    assert store.entries() == []


def test_forgetting_one_model_leaves_the_others(store: Store) -> None:
    for one in (MODEL, OTHER):
        store.keep(one, ABOUT, {key(1): values(1, 3)})
    store.forget(MODEL)
    assert store.find(MODEL, [key(1)]) == {} and store.find(OTHER, [key(1)])


def test_a_sealed_file_gives_back_words_and_tensors_of_any_type(tmp_path: Path) -> None:
    tensors = {
        "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "eight": torch.ones(3).to(torch.float8_e4m3fn),
        "none": torch.zeros(0, dtype=torch.int64),
        "turned": torch.arange(6).view(2, 3).t(),
    }
    sealed.write(tmp_path / "x.safetensors", tensors, {"word": "ö"})
    found = sealed.read(tmp_path / "x.safetensors")
    assert found.about == {"word": "ö"}
    assert all(torch.equal(found.tensors[name].float(), tensor.float()) for name, tensor in tensors.items())
    assert {name: tensor.dtype for name, tensor in found.tensors.items()} == {
        name: tensor.dtype for name, tensor in tensors.items()
    }
