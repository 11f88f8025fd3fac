"""The embedded models: the numpy engine against PyTorch, what generation promises, and the members."""

import asyncio
import json
import math
import threading
from pathlib import Path

import numpy as np
import pytest

from pyramid_core.embedded import EmbeddedModel, Sampling, embedded_crowd, embedded_oracle, tokenizer, weights
from pyramid_core.embedded.generation import Generation
from pyramid_core.embedded.members import CROWD, MODELS, ORACLE, USD_PER_PARAMETER_TOKEN, load
from pyramid_core.embedded.problems import problems
from pyramid_core.errors import InputError
from pyramid_core.types import Query, Token

# Written by benchmarks/train_embedded.py with PyTorch from the shipped weights.
REFERENCE = json.loads((Path(__file__).parent / "data" / "embedded_reference.json").read_text())
QUESTION = problems(11, 1, split="tune")[0].question
QUERY = Query(text=QUESTION)
FOREIGN = Query(text="Wie geht's? ☃ SELECT * FROM eggs;")


def log_softmax(logits):
    logits = logits.astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def member(**sampling):
    return EmbeddedModel(name="tiny-add", sampling=Sampling(**sampling))


def answers(model, n=12, query=FOREIGN):
    return [model.ask(query).text for _ in range(n)]


# The engine


@pytest.mark.parametrize("name", MODELS)
def test_logprobs_equal_pytorchs(name):
    model = load(name)
    for case in REFERENCE[name]:
        logprobs = log_softmax(model.read(model.memory(model.context), case["tokens"]))
        ours = logprobs[np.arange(len(case["tokens"]) - 1), case["tokens"][1:]]
        np.testing.assert_allclose(ours, case["logprobs"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_the_likeliest_next_tokens_are_pytorchs(name):
    model = load(name)
    for case in REFERENCE[name]:
        logprobs = log_softmax(model.read(model.memory(model.context), case["tokens"]))[-1]
        np.testing.assert_allclose(logprobs[case["next_tokens"]], case["next_logprobs"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_steps_with_the_cache_equal_reading_everything_anew(name):
    model = load(name)
    tokens = REFERENCE[name][0]["tokens"]
    whole = model.read(model.memory(len(tokens)), tokens)
    memory = model.memory(len(tokens))
    model.read(memory, tokens[:5])
    row = np.empty(model.vocabulary, np.float32)
    for i in range(5, len(tokens)):
        model.step(memory, tokens[i], row)
        np.testing.assert_allclose(row, whole[i], atol=1e-4, rtol=0)


def test_weights_are_loaded_once_and_cannot_be_changed():
    model = load("tiny-add")
    assert load("tiny-add") is model
    with pytest.raises(ValueError, match="read-only"):
        model._embedding[0, 0] = 1


def test_the_weights_of_all_models_stay_under_6_mb():
    folder = Path(weights.__file__).parent / "weights"
    assert {path.stem for path in folder.iterdir()} == set(MODELS)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 6_000_000


def test_the_oracle_is_about_ten_times_a_member():
    sizes = [load(name).parameters for name in CROWD]
    assert 8 <= load(ORACLE).parameters / max(sizes) <= 16


def test_a_truncated_weights_file_is_refused():
    content = (Path(weights.__file__).parent / "weights" / "tiny-add.safetensors").read_bytes()
    with pytest.raises(InputError, match=r"tiny\.safetensors is not a readable safetensors file"):
        weights.read(content[:-1000], source="tiny.safetensors")


@pytest.mark.parametrize("content", [b"", b"no weights at all", (2).to_bytes(8, "little") + b"[]"])
def test_what_is_no_safetensors_file_is_refused(content):
    with pytest.raises(InputError, match="not a readable safetensors file"):
        weights.read(content, source="x")


# Generation


def test_an_answer_shows_its_steps_and_ends_in_a_number():
    answer = embedded_oracle().ask(QUERY)
    assert answer.text.rstrip(".").split()[-1].isdigit()
    assert "=" in answer.text
    assert answer.finish_reason == "stop"


@pytest.mark.parametrize("query", [QUERY, FOREIGN, Query(text="")])
def test_logprobs_are_those_of_the_models_own_distribution(query):
    model = member(temperature=1.7, top_k=40, seed=1)
    answer = model.ask(query)
    engine = load("tiny-add")
    prompt = [*tokenizer.encode(query.text), tokenizer.ANSWER]
    generation = Generation(engine, query.text, model.sampling)
    assert "".join(generation) == answer.text
    tokens = generation.tokens
    logprobs = log_softmax(engine.read(engine.memory(engine.context), prompt + tokens))[len(prompt) - 1 : -1]
    np.testing.assert_allclose(answer.logprobs, logprobs[np.arange(len(tokens)), tokens], atol=1e-4, rtol=0)


def test_token_texts_add_up_to_the_text():
    for query in (QUERY, FOREIGN):
        answer = member(temperature=1.5, seed=3).ask(query)
        assert "".join(answer.token_texts) == answer.text
        assert len(answer.token_texts) == len(answer.logprobs) == len(answer.top_logprobs)


def test_the_likeliest_alternative_is_the_greedy_choice():
    answer = member().ask(QUERY)
    for text, logprob, alternatives in zip(
        answer.token_texts, answer.logprobs, answer.top_logprobs, strict=True
    ):
        assert alternatives[0] == (text, logprob)
        assert [value for _, value in alternatives] == sorted((v for _, v in alternatives), reverse=True)
        assert len(alternatives) == 5


def test_alternatives_may_be_left_out():
    assert EmbeddedModel(name="tiny-add", top_logprobs=0).ask(QUERY).top_logprobs is None


def test_the_answer_span_holds_the_final_number():
    answer = member().ask(QUERY)
    start, end = answer.answer_span
    assert "".join(answer.token_texts[start:end]).strip() == answer.text.rstrip(".").split()[-1]


def test_greedy_answers_do_not_depend_on_the_seed():
    assert member(seed=1).ask(QUERY).text == member(seed=2).ask(QUERY).text == member().ask(QUERY).text


def test_a_seed_makes_sampled_answers_repeatable():
    assert len(set(answers(member(temperature=1.0, seed=5)))) == 1


def test_without_a_seed_sampled_answers_differ():
    assert len(set(answers(member(temperature=1.0)))) > 1


def test_other_seeds_give_other_samples():
    assert len({member(temperature=1.0, seed=seed).ask(FOREIGN).text for seed in range(8)}) > 1


def test_a_tiny_temperature_is_greedy():
    assert member(temperature=1e-300, seed=1).ask(QUERY).text == member().ask(QUERY).text


def test_top_k_of_one_is_greedy():
    assert member(temperature=2.0, top_k=1).ask(QUERY).text == member().ask(QUERY).text


def test_top_k_draws_among_the_k_likeliest():
    answer = EmbeddedModel(
        name="tiny-add", sampling=Sampling(temperature=5.0, top_k=3, seed=2), top_logprobs=3
    ).ask(QUERY)
    assert all(
        logprob >= alternatives[-1][1]
        for logprob, alternatives in zip(answer.logprobs, answer.top_logprobs, strict=True)
    )
    assert any(
        logprob < alternatives[0][1]
        for logprob, alternatives in zip(answer.logprobs, answer.top_logprobs, strict=True)
    )


def test_sampling_follows_the_distribution():
    model = load("tiny-add")
    prompt = FOREIGN.text
    logits = model.read(model.memory(256), [*tokenizer.encode(prompt), tokenizer.ANSWER])[-1]
    expected = np.exp(log_softmax(logits / 2.0))
    drawn = np.zeros(len(expected))
    for seed in range(600):
        generation = Generation(model, prompt, Sampling(temperature=2.0, seed=seed, max_tokens=1))
        list(generation)
        drawn[generation.tokens[0] if generation.tokens else tokenizer.END] += 1
    likeliest = int(expected.argmax())
    deviation = math.sqrt(600 * expected[likeliest] * (1 - expected[likeliest]))
    assert abs(drawn[likeliest] - 600 * expected[likeliest]) < 4 * deviation


def test_max_tokens_cuts_the_answer():
    answer = member(max_tokens=4).ask(QUERY)
    assert answer.finish_reason == "length"
    assert answer.usage.output_tokens == len(answer.token_texts) == 4
    assert member().ask(QUERY).text.startswith(answer.text)


def test_the_answer_ends_before_a_stop_text():
    whole = member().ask(QUERY).text
    answer = member(stop=(" answer is",)).ask(QUERY)
    assert answer.text == whole[: whole.index(" answer is")]
    assert answer.finish_reason == "stop"


def test_the_first_of_several_stop_texts_counts():
    whole = member().ask(QUERY).text
    assert member(stop=(" answer", ".")).ask(QUERY).text == whole[: whole.index(".")]


def test_a_stop_text_may_begin_and_end_inside_tokens():
    whole = member().ask(QUERY).text
    answer = member(stop=("swer i",)).ask(QUERY)
    assert answer.text == whole[: whole.index("swer i")]
    assert "".join(answer.token_texts) == answer.text
    assert len(answer.logprobs) == len(answer.token_texts)


def test_a_stop_text_at_the_very_beginning_leaves_an_empty_answer():
    whole = member().ask(QUERY).text
    answer = member(stop=(whole[:1],)).ask(QUERY)
    assert (answer.text, answer.logprobs, answer.token_texts) == ("", (), ())


def test_a_stop_text_that_does_not_come_changes_nothing():
    assert member(stop=("the answer is not",)).ask(QUERY).text == member().ask(QUERY).text


@pytest.mark.parametrize("stop", [(), ("answer is",), ("the answer is not", "zzz"), (". So",)])
@pytest.mark.parametrize("query", [QUERY, FOREIGN])
def test_the_stream_adds_up_to_the_whole(query, stop):
    model = member(temperature=1.2, seed=9, stop=stop)
    *pieces, answer = model.stream(query)
    assert all(isinstance(piece, Token) and piece.text for piece in pieces)
    assert answer == model.ask(query)
    assert "".join(piece.text for piece in pieces) == answer.text


def test_the_stream_comes_token_by_token():
    *pieces, answer = member().stream(QUERY)
    assert [piece.text for piece in pieces] == list(answer.token_texts)


def test_characters_of_several_bytes_are_streamed_whole():
    generation = Generation(load("tiny-add"), "", Sampling())
    snowman = tokenizer.encode("☃")
    generation._generate = lambda: iter([*snowman, *snowman[:2]])
    assert list(generation) == ["☃", "\ufffd"]
    assert generation.texts == ["", "", "☃", "", "\ufffd"]


def test_usage_counts_prompt_and_answer():
    answer = member().ask(QUERY)
    assert answer.usage.input_tokens == len(tokenizer.encode(QUESTION)) + 1
    assert answer.usage.output_tokens == len(answer.logprobs)


def test_a_prompt_beyond_the_context_window_is_refused():
    with pytest.raises(
        InputError, match=r"the prompt has 401 tokens, but the context window of \d+ must hold"
    ):
        member().ask(Query(text="Ann " * 200 + "x" * 199))


def test_the_context_window_bounds_prompt_and_answer():
    model = member(temperature=50.0, seed=1, max_tokens=1000)
    words = model.context - 4
    answer = model.ask(Query(text=" ".join(["Ann"] * words)))
    assert answer.usage.input_tokens + answer.usage.output_tokens <= model.context


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -0.1}, "temperature must be"),
        ({"temperature": math.nan}, "temperature must be"),
        ({"temperature": math.inf}, "temperature must be"),
        ({"top_k": 0}, "top_k must be 1 or more, not 0"),
        ({"max_tokens": 0}, "max_tokens must be 1 or more, not 0"),
        ({"stop": "."}, "stop must be a sequence"),
        ({"stop": ("",)}, "stop must be a sequence"),
    ],
)
def test_sampling_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Sampling(**settings)


# The members


def test_tools_are_refused():
    tool = {"type": "function", "function": {"name": "add"}}
    with pytest.raises(InputError, match="tiny-add is an embedded model without tool calling"):
        member().ask(Query(text=QUESTION, tools=(tool,)))


def test_an_unknown_model_is_named():
    with pytest.raises(InputError, match="there is no embedded model 'huge': choose one of tiny-times"):
        EmbeddedModel(name="huge")


def test_a_negative_number_of_alternatives_is_refused():
    with pytest.raises(InputError, match="top_logprobs must be 0 or more, not -1"):
        EmbeddedModel(name="oracle", top_logprobs=-1)


def test_one_model_may_be_several_members():
    first, second = (EmbeddedModel(name=name, model="tiny-add") for name in ("a", "b"))
    assert first.ask(QUERY).text == second.ask(QUERY).text
    assert (first.ask(QUERY).member, second.ask(QUERY).member) == ("a", "b")


def test_costs_are_in_proportion_to_parameters_and_tokens():
    for model in (*embedded_crowd(), embedded_oracle()):
        answer = model.ask(QUERY)
        tokens = answer.usage.input_tokens + answer.usage.output_tokens
        assert answer.cost.complete
        assert answer.cost.usd == pytest.approx(
            load(model.model).parameters * tokens * USD_PER_PARAMETER_TOKEN
        )


def test_loading_nothing_before_the_first_question():
    load.cache_clear()
    embedded_crowd()
    embedded_oracle()
    assert load.cache_info().currsize == 0


async def test_aask_gives_the_same_answer():
    assert await member().aask(QUERY) == member().ask(QUERY)


async def test_aask_works_off_the_event_loop(monkeypatch):
    seen = []
    monkeypatch.setattr(EmbeddedModel, "ask", lambda self, query: seen.append(threading.current_thread()))
    await member().aask(QUERY)
    assert seen[0] is not threading.current_thread()


async def test_astream_gives_the_same_pieces():
    assert [piece async for piece in member().astream(QUERY)] == list(member().stream(QUERY))


async def test_many_answers_at_once_do_not_disturb_each_other():
    queries = [Query(text=problem.question) for problem in problems(12, 20, split="tune")]
    model = embedded_oracle()
    assert await asyncio.gather(*(model.aask(query) for query in queries)) == [model.ask(q) for q in queries]


def test_a_stream_may_be_left_early():
    stream = member().stream(QUERY)
    assert isinstance(next(stream), Token)
    stream.close()
