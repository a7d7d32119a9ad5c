"""docs/losses.md says what the tables say."""

import losses_page


def test_the_page_is_what_the_tables_make_of_it() -> None:
    page = losses_page.PAGE.read_text()
    assert page == losses_page.renewed(page), "run python tests/losses_page.py"


def test_every_loss_says_its_formula_and_where_it_ends() -> None:
    for table in (losses_page.PAIR_LOSSES, losses_page.UNPAIRED_LOSSES, losses_page.RANKING_LOSSES):
        for name, row in table.items():
            for text in (losses_page.formula(row.loss), row.implicit_reward, row.optimum, row.source):
                assert 3 < len(text) < 200, name


def test_a_formula_is_the_first_paragraph_of_the_docstring() -> None:
    def loss() -> None:
        """(P,) |h|
        and more.

        The rest.
        """

    assert losses_page.formula(loss) == "|h| and more"
    assert losses_page.line(["a|b", "c"]) == r"| a\|b | c |"
