"""ChatPyramid as a chat model: the same verdicts as the core's, in every kind of chain."""

import asyncio
import json
import time

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnableParallel

from langchain_pyramid import ChatPyramid, EmbeddedChat
from pyramid_core.decision import EscalationRule, ThresholdRule
from pyramid_core.errors import ContractError, InputError, PyramidAbstained, PyramidFailed, RouterError
from pyramid_core.prices import Price
from pyramid_core.pyramid import Pyramid
from pyramid_core.records import routing_record
from pyramid_core.routers import ConstantRouter
from pyramid_core.types import Answer, Decision, Policy, Usage, Verdict
from tests.langchain.scripted import Scripted, pyramid


class Plain:
    """A member of the core that says the same as a scripted chat model."""

    def __init__(self, name, says):
        self.name = name
        self.says = says

    def ask(self, query):
        if isinstance(self.says, Exception):
            raise self.says
        return Answer(text=self.says, finish_reason="stop", usage=Usage(input_tokens=10, output_tokens=5))

    async def aask(self, query):
        return self.ask(query)


CASES = {
    "all agree": ("4", "The answer is 4.", "4.0"),
    "one differs": ("4", "4", "5"),
    "all differ": ("4", "5", "6"),
    "one fails": ("4", ConnectionError("down"), "4"),
    "one is empty": ("4", "", "4"),
    "two fail": ("4", ConnectionError("down"), TimeoutError("late")),
    "all fail": (ConnectionError("down"), ConnectionError("down"), ConnectionError("down")),
    "a refusal": ("4", "I cannot help with that.", "4"),
    "in boxes": ("\\boxed{12}", "#### 12", "so it is 12"),
}
TOLD = (
    "verdict",
    "escalated",
    "p_fail",
    "cost_barrier",
    "imperfection_barrier",
    "answered_by",
    "reason",
    "router",
    "rule",
)


def told(message):
    record = message.response_metadata["pyramid"]
    return {name: record[name] for name in TOLD} | {"text": message.text}


def expected(case, rule=None):
    """What the core says about the same answers; all members are waited for, so that no race decides."""
    crowd = [Plain(f"m{n}", says) for n, says in enumerate(CASES[case])]
    core = Pyramid(crowd=crowd, oracle=Plain("big", "7"), rule=rule, policy=Policy(early_stop=None))
    outcome = core.ask("How many?")
    record = routing_record(outcome.trace)
    return {name: record[name] for name in TOLD} | {"text": outcome.answer.text}


def same(case, **fields):
    return pyramid(*CASES[case], oracle="7", policy=Policy(early_stop=None), **fields)


PROMPT = ChatPromptTemplate.from_messages([("system", "Be short."), ("human", "{question}")])
ASK = {"question": "How many?"}


@pytest.mark.parametrize("case", CASES)
class TestVerdicts:
    def test_in_a_chain(self, case):
        llm = same(case)
        assert told((PROMPT | llm).invoke(ASK)) == expected(case)
        assert (PROMPT | llm | StrOutputParser()).invoke(ASK) == expected(case)["text"]

    async def test_in_an_asynchronous_chain(self, case):
        assert told(await (PROMPT | same(case)).ainvoke(ASK)) == expected(case)

    def test_in_a_batch(self, case):
        assert [told(m) for m in (PROMPT | same(case)).batch([ASK] * 3)] == [expected(case)] * 3

    async def test_in_an_asynchronous_batch(self, case):
        assert [told(m) for m in await (PROMPT | same(case)).abatch([ASK] * 3)] == [expected(case)] * 3

    def test_in_parallel(self, case):
        both = RunnableParallel(a=PROMPT | same(case), b=PROMPT | same(case, rule=1.0)).invoke(ASK)
        assert told(both["a"]) == expected(case)
        assert told(both["b"]) == expected(case, ThresholdRule(1.0))

    def test_in_a_stream(self, case):
        whole = None
        for chunk in (PROMPT | same(case)).stream(ASK):
            whole = chunk if whole is None else whole + chunk
        assert told(whole) == expected(case)


class TestTheMessage:
    def test_the_record_is_plain_json(self):
        message = pyramid("4", "5", oracle="7").invoke("How many?")
        record = message.response_metadata["pyramid"]
        assert json.loads(json.dumps(record, allow_nan=False)) == record

    def test_it_is_named_after_the_pyramid_and_never_after_a_member(self):
        metadata = pyramid("4", "4").invoke("How many?").response_metadata
        assert metadata["model_name"] == "pyramid"
        assert metadata["model_provider"] == "scripted"

    def test_usage_is_the_sum_over_the_members_and_by_model_in_the_record(self):
        message = pyramid("4", "5").invoke("How many?")
        assert message.usage_metadata == {"input_tokens": 120, "output_tokens": 60, "total_tokens": 180}
        assert message.response_metadata["pyramid"]["usage"]["big"] == {
            "calls": 1,
            "input_tokens": 100,
            "output_tokens": 50,
        }

    def test_usage_is_absent_where_no_member_tells_any(self):
        message = pyramid(Scripted("a", "4", used=None), Scripted("b", "4", used=None)).invoke("How many?")
        assert message.usage_metadata is None

    def test_a_members_own_bill_is_not_passed_off_as_the_pyramids(self):
        member = Scripted("a", "4", details={"token_usage": {"total_tokens": 15}})
        assert "token_usage" not in pyramid(member, member).invoke("How many?").response_metadata

    def test_the_members_own_message_is_not_changed(self):
        message = AIMessage("4", id="own", response_metadata={"model_name": "inner"})
        pyramid(Scripted("a", message), Scripted("b", message)).invoke("How many?")
        assert (message.id, message.response_metadata) == ("own", {"model_name": "inner"})

    def test_its_id_is_that_of_the_run(self):
        message = pyramid("4", "4").invoke("How many?", {"run_id": "01a20e63-95df-77cd-ae00-c4950de557f4"})
        assert message.id == "lc_run--01a20e63-95df-77cd-ae00-c4950de557f4"

    def test_costs_are_known_where_all_prices_are(self):
        prices = {
            "m0": Price(input=1e-6, output=1e-6),
            "m1": Price(input=1e-6, output=1e-6),
            "big": Price(input=1e-5, output=1e-5),
        }
        record = pyramid("4", "5", prices=prices).invoke("How many?").response_metadata["pyramid"]
        assert record["cost"]["complete"]
        assert record["cost"]["usd"] == pytest.approx(30e-6 + 150e-5)

    def test_costs_are_a_lower_bound_where_one_price_is_not_known(self):
        record = (
            pyramid("4", "5", prices={"m0": Price(input=1e-6, output=1e-6)})
            .invoke("How many?")
            .response_metadata["pyramid"]
        )
        assert not record["cost"]["complete"]
        assert record["saving"] is None

    @pytest.mark.parametrize(
        ("answered", "usd"),
        [("small", 15e-6), ("spare", 15e-3), ("spare-2026-01-31", 15e-3), ("spare-xl", None)],
    )
    def test_of_a_member_with_fallbacks_the_model_that_answered_is_paid(self, answered, usd):
        first = Scripted("small", "4" if answered == "small" else ConnectionError("down"))
        spare = Scripted("spare", AIMessage("4", response_metadata={"model_name": answered}))
        prices = {"small": Price(input=1e-6, output=1e-6), "spare": Price(input=1e-3, output=1e-3)}
        llm = pyramid(first.with_fallbacks([spare]), oracle=Scripted("big", "4"), prices=prices, rule=1.0)
        cost = llm.invoke("How many?").response_metadata["pyramid"]["cost"]
        assert cost["complete"] is (usd is not None)
        assert cost["usd"] == pytest.approx(usd or 0.0)

    def test_a_price_of_the_member_as_a_whole_is_that_of_whichever_answers(self):
        member = Scripted("small", ConnectionError("down")).with_fallbacks([Scripted("spare", "4")])
        named = member.with_config(run_name="either")
        llm = pyramid(named, oracle="4", prices={"either": Price(input=1e-3, output=0.0)}, rule=1.0)
        assert llm.invoke("q").response_metadata["pyramid"]["cost"]["usd"] == pytest.approx(10e-3)


class TestWhatMembersGet:
    def test_messages_stop_and_call_settings_reach_every_member(self):
        llm = pyramid("4", "5")
        llm.invoke([SystemMessage("s"), HumanMessage("q")], stop=["\n"], temperature=0.5, logprobs=True)
        for member in llm.crowd:
            (messages, settings), *_ = member.calls
            assert [m.text for m in messages] == ["s", "q"]
            assert settings["stop"] == ["\n"]
            assert settings["temperature"] == 0.5
            assert settings["logprobs"] is True

    def test_fields_reach_every_member_and_a_call_overrides_them(self):
        llm = pyramid("4", "4", temperature=0.5, max_tokens=9, stop=["a"])
        llm.invoke("q")
        llm.invoke("q", temperature=0.0, stop=["b"])
        first, second = [settings for _, settings in llm.crowd[0].calls]
        assert (first["temperature"], first["max_tokens"], first["stop"]) == (0.5, 9, ["a"])
        assert (second["temperature"], second["max_tokens"], second["stop"]) == (0.0, 9, ["b"])

    def test_nothing_is_set_where_the_user_set_nothing(self):
        llm = pyramid("4", "4")
        llm.invoke("q")
        assert llm.crowd[0].calls[0][1] == {"stop": None}

    def test_a_members_own_stop_stands_where_the_call_has_none(self):
        member = Scripted("a", "4")
        pyramid(member.bind(stop=["own"]), "4").invoke("q")
        assert member.calls[0][1]["stop"] == ["own"]

    def test_keys_and_retries_are_no_business_of_the_members(self):
        llm = pyramid("4", "4", max_retries=3, api_key="sk-key")
        llm.invoke("q", max_retries=5, api_key="sk-other")
        assert llm.crowd[0].calls[0][1] == {"stop": None}

    def test_a_streaming_member_of_the_crowd_does_not_stream(self):
        member = Scripted("a", "4", streaming=True)
        pyramid(member, "4").invoke("q")
        assert "streamed" not in member.calls[0][1]


class TestNames:
    def test_the_same_model_several_times_gets_names_of_its_own(self):
        model = Scripted("small", ["4", "5", "4"])
        llm = ChatPyramid(crowd=[model, model, model], oracle=model, policy=Policy(early_stop=None))
        assert llm.pyramid.crowd == ("small", "small#2", "small#3")
        assert llm.pyramid.oracles == ("small#4",)

    def test_a_run_name_or_a_name_of_its_own_is_preferred_to_the_models(self):
        llm = pyramid(
            Scripted("a").with_config(run_name="first"),
            Scripted("b", name="second"),
            Scripted("c").bind(model="third"),
        )
        assert llm.pyramid.crowd == ("first", "second", "third")

    def test_prices_are_found_by_model_for_every_copy(self):
        model = Scripted("small", ["4", "5", "6"])
        free = Price(input=0.0, output=0.0)
        record = (
            ChatPyramid(crowd=[model, model], oracle=model, prices={"small": free})
            .invoke("q")
            .response_metadata["pyramid"]
        )
        assert record["cost"]["complete"]


@pytest.fixture
def cache():
    cache = InMemoryCache()
    set_llm_cache(cache)
    yield cache
    set_llm_cache(None)


class TestCache:
    def test_copies_of_one_model_are_not_made_unanimous_by_the_cache(self, cache):
        model = Scripted("small", ["4", "5", "6"])
        record = (
            ChatPyramid(crowd=[model, model], oracle=Scripted("big")).invoke("q").response_metadata["pyramid"]
        )
        assert record["p_fail"] == 0.5

    def test_a_cache_that_was_set_on_the_member_is_respected(self, cache):
        model = Scripted("small", ["4", "5", "6"], cache=True)
        model.invoke("q")
        record = (
            ChatPyramid(crowd=[model, model], oracle=Scripted("big")).invoke("q").response_metadata["pyramid"]
        )
        assert record["p_fail"] == 0.0

    def test_different_members_use_the_cache(self, cache):
        llm = pyramid("4", "4")
        llm.invoke("q")
        llm.model_copy(update={"rule": 1.0}).invoke("q")
        assert len(llm.crowd[0].calls) == 1

    def test_an_answer_out_of_the_cache_is_marked_and_free(self, cache):
        llm = pyramid("4", "5")
        first, second = llm.invoke("q"), llm.invoke("q")
        assert "cached" not in first.response_metadata["pyramid"]
        assert second.response_metadata["pyramid"]["cached"] is True
        assert second.response_metadata["pyramid"]["cost"]["usd"] == 0.0

    @pytest.mark.parametrize(
        "other",
        [
            lambda: pyramid("4", "5", rule=0.5),
            lambda: pyramid("4", "6"),
            lambda: pyramid("4", "5", router=ConstantRouter(0.2)),
            lambda: pyramid("4", "5", temperature=0.3),
            lambda: pyramid("4", "5", policy=Policy(escalations=0)),
            lambda: pyramid(Scripted("m0", "4").bind(x=1), "5"),
        ],
    )
    def test_two_pyramids_never_share_an_answer(self, other):
        assert pyramid("4", "5")._get_llm_string() != other()._get_llm_string()

    def test_equal_pyramids_do(self):
        assert pyramid("4", "5")._get_llm_string() == pyramid("4", "5")._get_llm_string()


class TestSecrets:
    def test_no_key_is_shown_or_serialised(self):
        llm = pyramid("4", "5", api_key="sk-own-secret")
        shown = (
            repr(llm)
            + str(llm)
            + json.dumps(llm._serialized)
            + str(llm._identifying_params)
            + str(llm.model_dump())
        )
        assert "secret" not in shown
        assert not llm.is_lc_serializable()


class TestOperatingPoints:
    def test_the_models_name_chooses_one(self):
        llm = pyramid("4", "5", model="pyramid:economy")
        message = llm.invoke("q")
        assert "economy" in message.response_metadata["pyramid"]["rule"]
        assert message.response_metadata["model_name"] == "pyramid:economy"

    def test_a_call_may_choose_another(self):
        message = pyramid("4", "5").invoke("q", model="pyramid:balanced")
        assert "balanced" in message.response_metadata["pyramid"]["rule"]

    def test_one_that_the_router_does_not_have_is_an_error_that_lists_them(self):
        with pytest.raises(InputError, match=r"no operating point 'cheap', only .*'economy'"):
            pyramid("4", model="pyramid:cheap")

    @pytest.mark.parametrize("name", ["gpt-5", "pyramid:", "pyramids", ""])
    def test_any_other_name_is_an_error(self, name):
        with pytest.raises(InputError, match="model must be 'pyramid'"):
            pyramid("4", model=name)

    def test_a_name_and_a_rule_contradict_each_other(self):
        with pytest.raises(InputError, match="both say when to escalate"):
            pyramid("4", model="pyramid:economy", rule=0.5)


class TestBadArguments:
    """Our own errors, plainly, and not wrapped into pydantic's."""

    @pytest.mark.parametrize("crowd", [[], None, 5, "gpt", ()])
    def test_an_empty_crowd(self, crowd):
        with pytest.raises(InputError, match="crowd must be a list of at least one chat model") as raised:
            ChatPyramid(crowd=crowd, oracle=Scripted())
        assert type(raised.value) is InputError

    @pytest.mark.parametrize("oracle", [None, []])
    def test_no_oracle(self, oracle):
        with pytest.raises(InputError, match="oracle is missing"):
            ChatPyramid(crowd=[Scripted()], oracle=oracle)

    @pytest.mark.parametrize("thing", [5, "gpt-4o", object(), Scripted, RunnableLambda(str), lambda m: m])
    def test_a_member_that_is_no_chat_model(self, thing):
        with pytest.raises(InputError, match=r"crowd\[1\] is .*, not a chat model"):
            ChatPyramid(crowd=[Scripted(), thing], oracle=Scripted())
        with pytest.raises(InputError, match=r"oracle is .*, not a chat model"):
            ChatPyramid(crowd=[Scripted()], oracle=thing)

    @pytest.mark.parametrize("rule", [-0.1, 1.1, float("nan"), float("inf")])
    def test_a_threshold_outside_zero_to_one(self, rule):
        with pytest.raises(InputError, match="threshold must be a number between 0 and 1"):
            pyramid("4", rule=rule)

    @pytest.mark.parametrize("rule", ["0.5", True, object()])
    def test_a_rule_that_is_none(self, rule):
        with pytest.raises(InputError, match="rule must be a rule or a threshold"):
            pyramid("4", rule=rule)

    def test_a_router_folder_that_is_not_there(self, tmp_path):
        with pytest.raises((RouterError, InputError), match="nowhere"):
            pyramid("4", router=tmp_path / "nowhere")

    def test_an_argument_that_does_not_exist(self):
        with pytest.raises(InputError, match="ChatPyramid has no orcale: it takes"):
            ChatPyramid(crowd=[Scripted()], orcale=Scripted())

    @pytest.mark.parametrize("timeout", [0, -1.0])
    def test_a_timeout_that_is_no_time(self, timeout):
        with pytest.raises(InputError, match="timeout must be a number of seconds above 0"):
            pyramid("4", timeout=timeout)

    def test_a_timeout_of_a_call_that_is_none(self):
        with pytest.raises(InputError, match="timeout must be a number of seconds above 0"):
            pyramid("4", "4").invoke("q", timeout="soon")

    @pytest.mark.parametrize("stop", ["abc", [3], 5])
    def test_a_stop_that_is_no_list_of_texts(self, stop):
        with pytest.raises(InputError, match="stop must be a list of texts"):
            pyramid("4", stop=stop)
        with pytest.raises(InputError, match="stop must be a list of texts"):
            EmbeddedChat(stop=stop)

    def test_prices_that_are_no_dict(self):
        with pytest.raises(
            InputError, match="prices must be a dict of Price by model name, not of type list"
        ):
            pyramid("4", prices=[1])

    def test_a_price_of_nobody(self):
        with pytest.raises(InputError, match="prices has 'gpt', which is no member"):
            pyramid("4", prices={"gpt": Price(input=0, output=0)})

    def test_a_price_that_is_none(self):
        with pytest.raises(InputError, match=r"must be a pyramid_core\.Price"):
            pyramid("4", prices={"m0": 0.5})


class TestBadPrompts:
    @pytest.mark.parametrize("prompt", ["", "  ", []])
    async def test_an_empty_one(self, prompt):
        with pytest.raises(InputError, match="prompt is empty"):
            await pyramid("4").ainvoke(prompt)

    def test_control_characters(self):
        with pytest.raises(InputError, match="control or surrogate character"):
            pyramid("4").invoke("2 + \x00 2")

    @pytest.mark.parametrize("content", ["be \ud800 short", [{"type": "text", "text": "\ud800"}]])
    def test_a_surrogate_in_any_message(self, content):
        with pytest.raises(InputError, match=r"messages\[0\] \(system\) has a surrogate character"):
            pyramid("4").invoke([SystemMessage(content), HumanMessage("2 + 2?")])


class TestEndings:
    async def test_everybody_failed_is_one_error_with_every_cause(self):
        llm = pyramid(
            ConnectionError("a is down"),
            TimeoutError("b is late"),
            oracle=Scripted("big", ValueError("no quota")),
            policy=Policy(early_stop=None),
        )
        with pytest.raises(PyramidFailed) as raised:
            llm.invoke("q")
        assert {f.message for f in raised.value.failures} == {"a is down", "b is late", "no quota"}
        with pytest.raises(PyramidFailed):
            await llm.ainvoke("q")

    def test_the_oracle_failed_is_the_crowds_best_answer_marked(self):
        message = pyramid("4", "4", "5", oracle=Scripted("big", ConnectionError("down"))).invoke("q")
        assert message.text == "4"
        assert message.response_metadata["pyramid"]["ended"] == "fallback"

    def test_an_abstaining_rule_reaches_the_caller(self):
        class Silent:
            name = "silent"

            def resolved(self, router):
                return self

            def decide(self, assessment, options):
                return Decision(verdict=Verdict.ABSTAIN, reason="not for me", rule=self.name)

        with pytest.raises(PyramidAbstained, match="not for me") as raised:
            pyramid("4", "5", rule=Silent()).invoke("q")
        assert raised.value.trace.end == "abstain"

    @pytest.mark.parametrize("error", [TypeError("bug"), NotImplementedError("bug"), AssertionError("bug")])
    async def test_a_bug_in_a_member_is_raised_bare(self, error):
        with pytest.raises(type(error), match="bug"):
            pyramid(Scripted("a", error), "4").invoke("q")
        with pytest.raises(type(error), match="bug"):
            await pyramid(Scripted("a", error), "4").ainvoke("q")

    async def test_a_stranger_among_the_messages_is_a_broken_contract(self):
        class Wrong(Scripted):
            def invoke(self, *args, **kwargs):
                return HumanMessage("4")

            async def ainvoke(self, *args, **kwargs):
                return None

        with pytest.raises(ContractError, match="member 'a' answered with HumanMessage"):
            pyramid(Wrong("a"), "4").invoke("q")
        with pytest.raises(ContractError, match="member 'a' answered with NoneType"):
            await pyramid(Wrong("a"), "4").ainvoke("q")

    async def test_at_the_timeout_the_best_answer_comes_back_marked(self):
        never = asyncio.Event()
        message = await pyramid("4", Scripted("slow", gate=never)).ainvoke("q", timeout=0.05)
        assert message.text == "4"
        assert message.response_metadata["pyramid"]["ended"] == "deadline"


class TestConfiguring:
    def test_a_field_changed_at_run_time_builds_another_pyramid(self):
        llm = pyramid("4", "4", "5").configurable_fields(rule=ConfigurableField(id="threshold"))
        assert llm.invoke("q").text == "oracle says 7"
        assert llm.with_config(configurable={"threshold": 0.9}).invoke("q").text == "4"

    def test_a_changed_copy_decides_by_its_own_rule_and_leaves_the_first_alone(self):
        llm = pyramid("4", "4", "5")
        copy = llm.model_copy(update={"rule": 0.9})
        assert copy.invoke("q").text == "4"
        assert llm.invoke("q").text == "oracle says 7"

    def test_an_assigned_field_counts_from_the_next_call(self):
        llm = pyramid("4", "4", "5")
        llm.invoke("q")
        llm.rule = 0.9
        assert llm.invoke("q").text == "4"

    def test_any_rule_of_the_core_may_be_given(self):
        llm = pyramid("4", "4", "5", rule=EscalationRule(c_esc=0.9))
        assert llm.invoke("q").text == "4"

    def test_building_takes_less_than_a_millisecond(self):
        crowd, oracle = [Scripted("a"), Scripted("b"), Scripted("c")], Scripted("d")
        ChatPyramid(crowd=crowd, oracle=oracle)
        taken = []
        for _ in range(20):
            start = time.perf_counter()
            ChatPyramid(crowd=crowd, oracle=oracle)
            taken.append(time.perf_counter() - start)
        assert min(taken) < 1e-3


class TestAsAMember:
    async def test_a_pyramid_may_stand_in_a_pyramids_crowd(self):
        inner = pyramid("4", "4")
        message = await pyramid(inner, "4").ainvoke("q")
        assert message.response_metadata["pyramid"]["crowd"] == ["pyramid", "m1"]
        assert message.text == "4"


class TestWhatIsKnownOfIt:
    def test_its_profile_has_what_every_member_can_do(self):
        a = Scripted("a", profile={"tool_calling": True, "image_inputs": True, "max_input_tokens": 100})
        b = Scripted(
            "b",
            profile={
                "tool_calling": True,
                "image_inputs": False,
                "max_input_tokens": 50,
                "audio_inputs": True,
            },
        )
        profile = ChatPyramid(crowd=[a], oracle=b).profile
        assert profile == {"tool_calling": True, "image_inputs": False, "max_input_tokens": 50}

    def test_its_profile_is_unknown_where_one_members_is(self):
        assert (
            ChatPyramid(crowd=[Scripted("a", profile={"tool_calling": True})], oracle=Scripted("b")).profile
            is None
        )

    def test_it_counts_tokens_as_the_member_with_the_most(self):
        class Counting(Scripted):
            each: int = 1

            def get_token_ids(self, text):
                return list(range(self.each * len(text.split())))

        llm = ChatPyramid(crowd=[Counting("a", each=1), Counting("b", each=3)], oracle=Counting("c", each=2))
        assert llm.get_num_tokens("two words") == 6
        assert llm.get_num_tokens_from_messages([HumanMessage("two words")]) >= 6
