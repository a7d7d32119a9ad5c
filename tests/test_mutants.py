"""The list of what `make mutants` breaks is whole: each change is found, changes its file, and names tests."""

import ast
import inspect

import pytest
from mutations import ROOT, Mutation, mutations

from accord.maths.preference import PAIR_LOSSES

ALL = mutations()


@pytest.mark.parametrize("one", ALL, ids=lambda one: f"{one.family}: {one.name}")
def test_a_mutation_changes_its_file_into_another_program(one: Mutation) -> None:
    text = (ROOT / one.file).read_text(encoding="utf-8")
    broken = one.make(text)
    assert ast.dump(ast.parse(broken)) != ast.dump(ast.parse(text))
    assert one.tests and all((ROOT / "tests" / test).is_file() for test in one.tests)


def test_each_has_a_name_of_its_own() -> None:
    assert len({(one.family, one.name) for one in ALL}) == len(ALL)


def test_a_new_row_of_a_table_is_broken_by_itself() -> None:
    named = {one.name for one in ALL if one.family == "a loss's sign"}
    for row in PAIR_LOSSES.values():
        assert f"{inspect.getmodule(row.loss).__name__.split('.')[-1]}.{row.loss.__name__}" in named


def test_a_function_with_another_sign_keeps_its_signature() -> None:
    """Hyper-parameters are read from signatures: they are not what is broken."""
    one = next(one for one in ALL if one.name == "gap_losses.ipo")
    scope: dict[str, object] = {"__name__": "broken"}
    exec(compile(one.make((ROOT / one.file).read_text(encoding="utf-8")), "broken.py", "exec"), scope)
    broken = scope["ipo"]
    assert inspect.signature(broken) == inspect.signature(PAIR_LOSSES["ipo"].loss)  # type: ignore[arg-type]
