"""Semantic agreement through LangChain's embeddings: one batch, off the loop, and only where it can matter."""

import sys
import threading
import types

import pytest
from langchain_core.embeddings import Embeddings

from langchain_pyramid.semantic import EmbeddingGatherer, SentenceEmbeddings
from pyramid_core.errors import InputError, MissingExtra
from pyramid_core.routers import AgreementRouter
from pyramid_core.types import Policy
from tests.langchain.scripted import Scripted, pyramid

MEANING = {"cats": [1.0, 0.0], "felines": [0.98, 0.2], "dogs": [0.0, 1.0]}
ABOUT_CATS = ("They like cats a lot.", "Mostly felines, I would say.")


class Meaning(Embeddings):
    """Knows three words."""

    def __init__(self):
        self.batches = []
        self.threads = []

    def embed_documents(self, texts):
        self.batches.append(texts)
        self.threads.append(threading.current_thread())
        return [next(vector for word, vector in MEANING.items() if word in text) for text in texts]

    def embed_query(self, text):
        raise AssertionError("one batch for all")


def over(*says, **fields):
    embeddings = Meaning()
    llm = pyramid(*says, oracle="Wolves.", embeddings=embeddings, policy=Policy(early_stop=None), **fields)
    return llm, embeddings


class TestAgreement:
    def test_texts_that_mean_the_same_are_one_vote(self):
        llm, embeddings = over(*ABOUT_CATS)
        record = llm.invoke("What do they like?").response_metadata["pyramid"]
        assert (record["verdict"], record["p_fail"]) == ("accept", 0.0)
        assert record["router"] == "semantic/0.85"
        assert [sorted(batch) for batch in embeddings.batches] == [sorted(ABOUT_CATS)]

    def test_texts_that_do_not_are_not(self):
        llm, _ = over(ABOUT_CATS[0], "No doubt it is dogs.")
        record = llm.invoke("What do they like?").response_metadata["pyramid"]
        assert (record["verdict"], record["p_fail"]) == ("escalate", 0.5)

    def test_without_embeddings_they_differ(self):
        record = pyramid(*ABOUT_CATS).invoke("What do they like?").response_metadata["pyramid"]
        assert record["verdict"] == "escalate"

    def test_the_majority_speaks(self):
        llm, _ = over("No doubt it is dogs.", *ABOUT_CATS, rule=0.5)
        message = llm.invoke("What do they like?")
        assert message.text == ABOUT_CATS[0]
        assert message.response_metadata["pyramid"]["p_fail"] == pytest.approx(1 / 3)


class TestOnlyWhereItCanMatter:
    @pytest.mark.parametrize("answers", [("Cats.", "  cats. "), ("cats", ConnectionError("down"))])
    def test_equal_texts_and_single_ones_are_not_embedded(self, answers):
        llm, embeddings = over(*answers)
        llm.invoke("What do they like?")
        assert embeddings.batches == []

    def test_where_embedding_fails_texts_are_compared_as_texts(self):
        llm, embeddings = over("They like birds.", "Only birds, and nothing but them.")
        record = llm.invoke("What do they like?").response_metadata["pyramid"]
        assert record["verdict"] == "escalate"
        assert "how alike the texts are is not known" in record["notes"][0]
        assert len(embeddings.batches) == 1

    async def test_it_is_done_off_the_event_loop(self):
        llm, embeddings = over(*ABOUT_CATS)
        await llm.ainvoke("What do they like?")
        assert embeddings.threads != [threading.current_thread()]
        assert len(embeddings.batches) == 1


class TestWhatMayBeGiven:
    def test_a_router_of_the_users_own_stands(self):
        llm, embeddings = over("4", "4", router=AgreementRouter())
        assert llm.invoke("q").response_metadata["pyramid"]["router"] == "agreement"
        assert embeddings.batches == []

    def test_what_is_no_embeddings_is_refused(self):
        with pytest.raises(InputError, match="embeddings must be a LangChain Embeddings"):
            pyramid("4", embeddings=object())

    @pytest.mark.parametrize("given", [True, "all-MiniLM-L6-v2"])
    def test_without_sentence_transformers_it_says_what_to_install(self, given, monkeypatch):
        monkeypatch.setitem(sys.modules, "sentence_transformers", None)
        with pytest.raises(MissingExtra, match=r"pyramid-moa\[semantic\]"):
            pyramid("4", embeddings=given)

    def test_with_it_the_model_is_loaded_when_it_is_first_needed(self, monkeypatch):
        loaded = []

        class SentenceTransformer:
            def __init__(self, name):
                loaded.append(name)

            def encode(self, texts):
                return [[len(text), 1.0] for text in texts]

        module = types.SimpleNamespace(SentenceTransformer=SentenceTransformer)
        monkeypatch.setitem(sys.modules, "sentence_transformers", module)
        llm = pyramid("a long story", "another long story", embeddings=True, policy=Policy(early_stop=None))
        assert loaded == []
        llm.invoke("q")
        llm.invoke("q again")
        assert loaded == ["sentence-transformers/all-MiniLM-L6-v2"]
        assert SentenceEmbeddings("x").embed_query("four") == [4.0, 1.0]

    def test_a_gatherer_may_be_given_by_itself(self):
        assert EmbeddingGatherer(Meaning())

    def test_the_cache_key_tells_one_from_another(self):
        assert (
            over("4")[0]._get_llm_string()
            != pyramid("4", oracle=Scripted("big", "Wolves."))._get_llm_string()
        )
