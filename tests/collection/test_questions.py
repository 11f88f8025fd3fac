"""What can be asked: files and objects as questions, and one clear error for each way a file can be wrong."""

import gzip
import json

import pytest

from pyramid_core.collection import questions_of
from pyramid_core.errors import InputError
from pyramid_core.types import Query

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def records(queries, columns=None):
    return [dict(question.record) for question in questions_of(queries, columns)]


class TestReading:
    def test_jsonl_keeps_all_it_says(self, write):
        row = {"id": "a", "query": "Why?", "reference": ["x", 1], "category": "c", "answer_type": "text"}
        assert records(write("q.jsonl", json.dumps(row) + "\n\n")) == [row]

    def test_gzip_is_read(self, write):
        assert records(write("q.jsonl.gz", gzip.compress(b'{"id": 1, "query": "Why?"}\n'))) == [
            {"id": "1", "query": "Why?"}
        ]

    @pytest.mark.parametrize(("name", "mark"), [("q.csv", ","), ("q.csv", ";"), ("q.tsv", "\t")])
    def test_csv_is_read_by_its_heading(self, write, name, mark):
        text = (
            f'id{mark}query{mark}reference\n1{mark}"Why,\nthen; so\t?"{mark}4\n2{mark}"And ""now""?"{mark}\n'
        )
        assert records(write(name, b"\xef\xbb\xbf" + text.encode())) == [
            {"id": "1", "query": "Why,\nthen; so\t?", "reference": "4"},
            {"id": "2", "query": 'And "now"?'},
        ]

    def test_csv_holds_messages_and_tools_as_json(self, write):
        cells = [json.dumps(one).replace('"', '""') for one in (MESSAGES, [TOOL])]
        assert records(write("q.csv", 'id,messages,tools\n1,"{}","{}"\n'.format(*cells))) == [
            {"id": "1", "messages": MESSAGES, "tools": [TOOL]}
        ]

    def test_columns_have_the_names_that_the_user_says(self, write):
        path = write("q.jsonl", '{"Question": "Why?", "answer": "so", "id": 7, "note": null}\n')
        assert records(path, {"query": "Question", "reference": "answer"}) == [
            {"id": "7", "query": "Why?", "reference": "so"}
        ]

    def test_texts_queries_and_rows_can_be_mixed(self):
        given = ["Why?", Query(text="How?", id="h", tools=(TOOL,)), {"id": "m", "messages": MESSAGES}]
        found = list(questions_of(given))
        assert [question.query.text for question in found] == ["Why?", "How?", "Why?"]
        assert found[1].query.tools == (TOOL,)
        assert found[2].query.messages == tuple(MESSAGES)

    def test_answers_that_a_row_has_are_left_behind(self, write):
        row = {"format": 1, "id": "a", "query": "Why?", "responses": [{"model": "x"}], "deliberation": None}
        assert records(write("q.jsonl", json.dumps(row))) == [{"id": "a", "query": "Why?"}]

    def test_an_id_that_is_not_given_is_of_the_question_alone(self):
        first, again = (questions_of([{"query": "Why?", "reference": r}]).ids[0] for r in "ab")
        other = questions_of(["Why not?"]).ids[0]
        assert first == again != other


class TestErrors:
    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("q.jsonl", "", "has no question: give at least one"),
            ("q.jsonl", '{"query": "Why?"\n', "line 1: not a complete JSON object"),
            ("q.jsonl", '{"query": "a"}\n{"query": "b"', "line 2: not a complete JSON object"),
            ("q.jsonl", '["Why?"]\n', "line 1: a record is a JSON object, not list"),
            ("q.json", '[\n{"query": "Why?"}\n]\n', "write one object a line"),
            ("q.jsonl", '{"id": 1}\n', "line 1: the row has no question"),
            ("q.jsonl", '{"prompt": "Why?"}\n', "say which column has the question, --column query=prompt"),
            ("q.jsonl", '{"Problem": "Why?", "x": 1}\n', "only 'Problem', 'x': say which column"),
            ("q.jsonl", '{"query": "  "}\n', "line 1: the prompt is empty"),
            ("q.jsonl", '{"query": 5}\n', "query is int, not a text"),
            ("q.jsonl", '{"query": "a\\u0000b"}\n', "control or surrogate character"),
            ("q.jsonl", '{"messages": "Why?"}\n', "messages is str, not a list"),
            ("q.jsonl", '{"messages": []}\n', "neither query nor messages"),
            ("q.jsonl", '{"query": "a", "tools": {"name": "f"}}\n', "tools is dict, not a list"),
            ("q.jsonl", '{"query": "a", "answer_type": "numbr"}\n', "answer_type 'numbr' is none of number"),
            (
                "q.jsonl",
                '{"id": 1, "query": "a"}\n{"id": "1", "query": "b"}\n',
                "line 2: the id '1' was there",
            ),
            ("q.jsonl", '{"query": "a"}\n{"query": "a"}\n', "line 2: asks the same as"),
            ("q.jsonl", b'{"query": "\xff"}\n', "line 1"),
            ("q.jsonl.gz", b"\x1f\x8bnonsense", "cut off or damaged"),
            ("q.csv", "", "has no question"),
            ("q.csv", "id,query\n", "has no question"),
            ("q.csv", "id,query\n1,Why,then?\n", "line 2: 3 cells where the heading has 2"),
            ("q.csv", "id,query\n1\n", "line 2: 1 cells where the heading has 2"),
            ("q.csv", 'id,query\n1,"Why?\n', "not CSV"),
            ("q.csv", "id,query,query\n1,a,b\n", "line 1: the column 'query' comes twice"),
            ("q.csv", "id,,query\n1,a,b\n", "line 1: a column has no name"),
            ("q.csv", "id,question\n1,a\n", "--column query=question"),
            ("q.csv", "id,query\n1,\n", "line 2: there is neither query nor messages"),
            ("q.csv", 'id,messages\n1,"[{oops"\n', "line 2: messages is not JSON"),
            ("q.csv", b"id,query\n1,\xff\n", "is not UTF-8"),
        ],
    )
    def test_names_the_line_and_what_to_do(self, write, name, content, words):
        path = write(name, content)
        with pytest.raises(InputError) as caught:
            records(path)
        assert words in str(caught.value)
        assert str(path) in str(caught.value)

    def test_a_column_that_is_not_there_has_a_nearest(self, write):
        path = write("q.csv", "id,question\n1,Why?\n")
        with pytest.raises(InputError, match="there is no column 'Qestion': did you mean 'question'"):
            records(path, {"query": "Qestion"})

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(InputError, match="are not there: give a JSONL or CSV file"):
            questions_of(tmp_path / "q.jsonl")

    def test_a_folder(self, tmp_path):
        with pytest.raises(InputError, match="are a folder"):
            questions_of(tmp_path)

    def test_an_object_that_is_no_question(self):
        with pytest.raises(InputError, match="query 1 is a int: give a text, a Query or a mapping"):
            questions_of(["Why?", 5])
