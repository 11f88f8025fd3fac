"""What is set for a pyramid or frozen for a query is checked where it is given."""

import math

import pytest

from pyramid_core.decision import EscalationRule
from pyramid_core.errors import InputError
from pyramid_core.pyramid import Pyramid
from pyramid_core.routers import AgreementRouter
from pyramid_core.types import Answer, Context, Policy


class Says:
    def __init__(self, name, text):
        self.name, self.text = name, text

    def ask(self, query):
        return Answer(text=self.text)


@pytest.mark.parametrize("value", [math.nan, -0.1, math.inf, "1", True])
@pytest.mark.parametrize("name", ["shadow_price", "deadline", "propensity"])
def test_a_contexts_number_that_cannot_be_is_named(name, value):
    with pytest.raises(InputError, match=f"{name} must be a number .*not {value!r}"):
        Context(**{name: value})


@pytest.mark.parametrize("value", [math.nan, -1, math.inf, "1", True])
@pytest.mark.parametrize(
    "name", ["width", "early_stop", "speculate", "escalations", "patience", "gather_patience"]
)
def test_a_policys_number_that_cannot_be_is_named(name, value):
    with pytest.raises(InputError, match=f"{name} must be a (whole )?number .*not {value!r}"):
        Policy(**{name: value})


@pytest.mark.parametrize("name", ["width", "escalations"])
def test_a_count_is_whole(name):
    with pytest.raises(InputError, match=f"{name} must be a whole number"):
        Policy(**{name: 1.5})


def test_a_shadow_price_that_is_no_number_does_not_accept_whatever_stands():
    crowd = [Says("a", "1"), Says("b", "2")]
    pyramid = Pyramid(crowd=crowd, oracle=Says("o", "3"), rule=EscalationRule(c_esc=0.1))
    with pytest.raises(InputError, match="shadow_price"):
        pyramid.ask("q", shadow_price=math.nan)


def test_an_unknown_equivalence_is_refused_before_anybody_is_asked():
    with pytest.raises(InputError, match="unknown equivalence 'numerc'"):
        AgreementRouter("numerc")
