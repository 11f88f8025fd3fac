"""What users give, checked once for the core and both frameworks."""

import pytest

from pyramid_core import InputError, Price
from pyramid_core.prices import check_prices
from pyramid_core.types.given import check_fields, crowd_and_oracles, no_member, placed, shown


class TestShown:
    @pytest.mark.parametrize(("value", "words"), [("gpt", "'gpt'"), (3, "3"), (None, "None"), ([], "[]")])
    def test_what_is_plain_is_shown(self, value, words):
        assert shown(value) == words

    @pytest.mark.parametrize("value", [{"api_key": "sk-1"}, ["sk-1"], object()])
    def test_what_might_hold_a_key_is_shown_by_its_type(self, value):
        assert shown(value) == f"of type {type(value).__name__}"


class TestLists:
    def test_one_oracle_is_a_list_of_one(self):
        assert crowd_and_oracles(("a", "b"), "o", kind="a model") == (["a", "b"], ["o"])

    def test_several_stay_in_order(self):
        assert crowd_and_oracles(["a"], ("o", "p"), kind="a model") == (["a"], ["o", "p"])

    def test_what_can_be_read_only_once_is_read_once(self):
        assert crowd_and_oracles((name for name in "ab"), "o", kind="a model")[0] == ["a", "b"]

    @pytest.mark.parametrize("crowd", [[], (), "gpt", None, 3, {"a": 1}, list, {1}.pop])
    def test_a_crowd_that_is_no_list(self, crowd):
        with pytest.raises(InputError, match="crowd must be a list of at least one chat model, not"):
            crowd_and_oracles(crowd, "o", kind="a chat model")

    def test_a_member_that_could_be_iterated_over_is_no_list(self):
        with pytest.raises(InputError, match="at least one model, not of type frozenset"):
            crowd_and_oracles(frozenset("ab"), "o", kind="a model", alone=frozenset)

    @pytest.mark.parametrize("oracle", [None, [], [None]])
    def test_no_oracle(self, oracle):
        with pytest.raises(InputError, match="oracle is missing: give the chat model"):
            crowd_and_oracles(["a"], oracle, kind="a chat model")

    def test_places_are_named_as_they_were_written(self):
        assert [place for place, _ in placed(["a", "b"], ["o"])] == ["crowd[0]", "crowd[1]", "oracle"]
        assert [place for place, _ in placed(["a"], ["o", "p"])] == ["crowd[0]", "oracle[0]", "oracle[1]"]

    def test_a_class_is_told_from_an_instance(self):
        error = no_member("crowd[1]", dict, kind="an LLM", instead="give one")
        assert str(error) == "crowd[1] is the class dict, not an LLM: make one of it, dict(...)"

    def test_anything_else_is_shown(self):
        assert (
            str(no_member("oracle", 3, kind="an LLM", instead="give one"))
            == "oracle is 3, not an LLM: give one"
        )


class TestNames:
    def test_unknown_settings_are_named_with_what_there_is(self):
        with pytest.raises(InputError, match="Thing has no b, c: it takes a, d"):
            check_fields("Thing", ["c", "a", "b"], ["a", "d"])

    def test_prices_are_looked_up_by_every_name(self):
        check_prices({"m": Price(input=0, output=0), "gpt": Price(input=0, output=0)}, ["m"], others=["gpt"])

    def test_a_price_of_nobody(self):
        with pytest.raises(InputError, match=r"prices has 'x', which is no member: they are \['m'\]"):
            check_prices({"x": Price(input=0, output=0)}, ["m"])

    def test_a_price_that_is_none(self):
        with pytest.raises(InputError, match=r"must be a pyramid_core\.Price, not 3"):
            check_prices({"m": 3}, ["m"])
