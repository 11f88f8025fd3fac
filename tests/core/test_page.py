"""The report of a profile: one file that stands alone, escapes strangers' text, and says what the figures say."""

import re
from html.parser import HTMLParser

import pytest

from pyramid_core.errors import InputError
from pyramid_core.evaluation.details import details
from pyramid_core.evaluation.page import check_page, page, write_page
from pyramid_core.evaluation.profile import Plan, judgements, report, tables_of
from pyramid_core.evaluation.sheet import Wanted
from tests.core.synthetic import CROWD, ORACLE, records

VOID = {"meta", "br", "link", "img"}


class Balance(HTMLParser):
    """Which elements are open, and which ended out of turn."""

    def __init__(self):
        super().__init__()
        self.open, self.wrong, self.sources = [], [], []

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in {"src", "href"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def made(hostile=""):
    told = [{**record, "query": f"{hostile}{record['query']}"} for record in records(150)]
    plan = Plan(wanted=Wanted(crowd=CROWD, oracle=ORACLE), kind="value", resamples=20, folds=3)
    tables = tables_of(lambda: told, plan)
    sheet, judged = judgements(lambda: told, plan, tables=tables)
    return report(sheet, judged, plan), details(lambda: told, plan, sheet, judged[0], tables)


@pytest.fixture(scope="module")
def figures():
    return made()


@pytest.fixture(scope="module")
def written(figures):
    return page(*figures)


def test_every_element_ends_in_its_turn_and_nothing_is_fetched(written):
    balance = Balance()
    balance.feed(written)
    assert (balance.open, balance.wrong, balance.sources) == ([], [], [])
    assert "<script" not in written
    assert "url(" not in written


def test_it_has_every_chart_and_table(written):
    titles = re.findall(r"<h2>(.*?)</h2>", written)
    assert titles[:7] == [
        "What to set",
        "Quality and cost by threshold",
        "Quality against cost",
        "Is p_fail what it says?",
        "What a point catches",
        "What the router looks at",
        "The figures",
    ]
    assert written.count("<svg") == 4


def test_it_follows_a_dark_theme_and_fits_a_narrow_screen(written):
    assert "prefers-color-scheme:dark" in written
    assert "width=device-width" in written


def test_the_point_in_words_is_the_point_in_figures(figures, written):
    point = figures[0]["operating_points"]["baseline-match"]
    said = f"{100 * point['escalation_rate']:.1f}\N{NO-BREAK SPACE}%"
    assert f"it asks the oracle on {said}" in written.split("<b>baseline-match</b>")[1]


def test_what_a_stranger_wrote_stays_text():
    told, shown = made("<script>alert(1)</script> & ")
    assert shown["most_wrong"]["trusted"]
    written = page(told, shown)
    assert "<script>" not in written
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp;" in written


def test_the_confusion_matrix_counts_every_graded_query(figures):
    told, shown = figures
    cells = {key: value for key, value in shown["confusion"].items() if key != "point"}
    assert sum(cells.values()) == told["n"] - told["ungraded"]


def test_the_bins_hold_every_graded_query_and_their_means_lie_within_their_intervals(figures):
    bins = figures[1]["reliability"]
    assert sum(one["n"] for one in bins) == figures[0]["n"]
    assert all(one["low"] <= one["wrong"] <= one["high"] for one in bins)


def test_the_curves_end_where_the_oracle_alone_is(figures):
    told, shown = figures
    ends = {name: line[-1] for name, line in shown["curves"].items()}
    assert all(rate == pytest.approx(1.0) for rate, _ in ends.values())
    assert {round(value, 6) for _, value in ends.values()} == {round(told["oracle_accuracy"], 6)}


def test_the_most_wrong_are_the_wrong_answers_that_were_trusted_most(figures):
    trusted = [one["p_fail"] for one in figures[1]["most_wrong"]["trusted"]]
    doubted = [one["p_fail"] for one in figures[1]["most_wrong"]["doubted"]]
    assert trusted == sorted(trusted)
    assert doubted == sorted(doubted, reverse=True)


def test_importance_is_of_every_column_and_gains_add_up(figures):
    found = figures[1]["importance"]
    assert {"class_agreement", "class_by[small-a]"} <= set(found)
    assert sum(one["gain"] for one in found.values()) == pytest.approx(1.0, abs=1e-3)


def test_without_grades_of_the_oracle_it_says_so(figures):
    told, shown = figures
    bare = {**told, "operating_points": {}, "profile": [], "monotone": []}
    said = page(bare, {**shown, "curves": {}, "confusion": None, "importance": None})
    assert "No operating point can be judged" in said


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        check_page(tmp_path)
    check_page(tmp_path / "new" / "report.html")
    assert not (tmp_path / "new" / "report.html").exists()


def test_it_is_written_as_utf_8(figures, tmp_path):
    write_page(*figures, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text("utf-8") == page(*figures)
