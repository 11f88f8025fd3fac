"""`pyramid.toml`: what it builds, and that whatever is wrong with it is said with its line and what would be right."""

from dataclasses import fields

import pytest

from pyramid_core import EscalationRule, ThresholdRule
from pyramid_core.configuration import EndpointSettings, load_configuration
from pyramid_core.configuration.source import MOST_BYTES, Source
from pyramid_core.configuration.template import template, write_template
from pyramid_core.endpoints import Endpoint, Retries, Timeouts
from pyramid_core.errors import InputError

EMBEDDED = """\
# The first line is a comment.
router = "embedded"
explore = 0.1

[[crowd]]
kind = "embedded"
name = "tiny-times"

[[crowd]]
kind = "embedded"
name = "tiny-short"

[[crowd]]
kind = "embedded"
name = "tiny-add"

[[oracle]]
kind = "embedded"
name = "oracle"

[rule]
operating_point = "economy"

[policy]
early_stop = 0.0

[server]
port = 8123
mode = "shadow"
"""

ENDPOINTS = """\
[[crowd]]
name = "small"
base_url = "http://127.0.0.1:9/v1/"
model = "small-8b"
top_logprobs = 5
system = \"\"\"
Be short.
Be right.
\"\"\"
timeouts = { connect = 2, total = 60 }
retries = { attempts = 5 }
extra = { seed = 7 }

[[crowd]]
name = "small"
base_url = "http://127.0.0.1:9/v1"
model = "small-8b"

[[oracle]]
base_url = "http://127.0.0.1:9/v1"
model = "large"
api_key_env = "LARGE_KEY"

[prices.small]
input = 0.1
output = 0.4
source = "the price list"
date = 2026-03-05
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "pyramid.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refused(path):
    """What is said of a configuration that cannot be used."""
    with pytest.raises(InputError) as caught:
        load_configuration(path).pyramid()
    return str(caught.value)


class TestLoading:
    def test_builds_the_pyramid_that_it_describes(self, write):
        pyramid = load_configuration(write(EMBEDDED)).pyramid()
        assert pyramid.crowd == ("tiny-times", "tiny-short", "tiny-add")
        assert pyramid.oracles == ("oracle",)
        assert pyramid.rule.operating_point == "economy"
        assert pyramid.ask("Ann has 12 apples. She finds 7 more. How many apples does Ann have now?").answer

    def test_reads_no_key_and_calls_nobody(self, write, monkeypatch):
        monkeypatch.delenv("LARGE_KEY", raising=False)
        members = load_configuration(write(ENDPOINTS)).pyramid().members
        assert list(members) == ["small", "small#2", "large"]

    def test_an_endpoint_gets_what_its_table_says(self, write):
        small = load_configuration(write(ENDPOINTS)).pyramid().members["small"]
        assert (small.base_url, small.model) == ("http://127.0.0.1:9/v1", "small-8b")
        assert small.timeouts == Timeouts(connect=2, total=60)
        assert small.retries == Retries(attempts=5)
        assert small.extra == {"seed": 7}
        assert small.system == "Be short.\nBe right.\n"

    def test_a_price_has_its_source_and_date(self, write):
        price = load_configuration(write(ENDPOINTS)).pyramid().members["small"].price
        assert (price.input, price.output) == (pytest.approx(1e-7), pytest.approx(4e-7))
        assert (price.source, price.date) == ("the price list", "2026-03-05")

    def test_what_an_endpoint_can_be_told_can_be_said_in_the_file(self):
        keys = {field.name for field in fields(Endpoint) if field.init} - {"price"}
        assert {field.name for field in fields(EndpointSettings)} == keys

    def test_paths_start_in_its_folder(self, write, tmp_path):
        text = EMBEDDED.replace('"embedded"\nexplore', '"./router"\nexplore')
        assert load_configuration(write(text)).router == tmp_path / "router"

    def test_a_file_of_windows_is_read(self, tmp_path):
        path = tmp_path / "pyramid.toml"
        path.write_bytes(b"\xef\xbb\xbf" + EMBEDDED.replace("\n", "\r\n").encode())
        assert load_configuration(path).top.explore == 0.1

    def test_a_rule_of_costs(self, write):
        text = EMBEDDED.replace(
            'operating_point = "economy"', 'kind = "escalation"\nc_esc = { oracle = 0.1 }\nu_correct = 2'
        )
        assert load_configuration(write(text)).rule == EscalationRule(c_esc={"oracle": 0.1}, u_correct=2)

    def test_a_rule_that_guards_tools(self, write):
        text = EMBEDDED.replace('"economy"', '"economy"\noracle_tools = ["pay"]')
        rule = load_configuration(write(text)).rule
        assert rule.tools == frozenset({"pay"})
        assert rule.rule == ThresholdRule(operating_point="economy")

    def test_the_server_has_its_limits(self, write):
        text = f"{EMBEDDED}\n[server.limits]\nmessages = 7\n[server.shadow]\nshare = 0.5\n"
        server = load_configuration(write(text)).server
        assert (server.port, server.mode, server.limits.messages, server.shadow.share) == (
            8123,
            "shadow",
            7,
            0.5,
        )

    def test_keys_are_looked_for_where_the_file_says(self, write, monkeypatch):
        monkeypatch.delenv("LARGE_KEY", raising=False)
        told = load_configuration(write(ENDPOINTS))
        with pytest.raises(
            InputError, match=r"line 22: large: the environment variable LARGE_KEY is not set"
        ):
            told.check_keys()
        monkeypatch.setenv("LARGE_KEY", "a-long-enough-key")
        told.check_keys()

    def test_what_is_behind_a_name_is_told_without_keys(self, write):
        served = load_configuration(write(ENDPOINTS)).served_by
        assert served["large"] == {
            "kind": "endpoint",
            "model": "large",
            "base_url": "http://127.0.0.1:9/v1",
        }
        assert served["small"]["extra"] == {"seed": 7}


WRONG = [
    # what is replaced, by what, the line, what is said
    ('router = "embedded"', 'routr = "embedded"', 2, "has no key 'routr': did you mean 'router'?"),
    ('router = "embedded"', "router = embedded", 2, 'texts stand in quotes, "embedded"'),
    ('router = "embedded"', 'router = "embeded"', 2, "there is no router named 'embeded'"),
    ('router = "embedded"', 'router = "./nowhere"', 2, "nowhere"),
    ('router = "embedded"', "router = 3", 2, 'router must be a text, in quotes: "3", not 3'),
    ("explore = 0.1", "explore = 1.5", 3, "explore must be a number between 0 and 1, not 1.5"),
    ("explore = 0.1", "explore = nan", 3, "explore must be a number between 0 and 1, not nan"),
    ("explore = 0.1", 'deadline = "5"', 3, "deadline must be a number, not '5'"),
    ('name = "tiny-add"', 'nam = "tiny-add"', 15, "[[crowd]] has no key 'nam': did you mean 'name'?"),
    ('name = "tiny-add"', 'name = "tiny-ad"', 13, "there is no embedded model 'tiny-ad'"),
    ('kind = "embedded"\nname = "oracle"', 'kind = "embeded"\nname = "x"', 18, "did you mean 'embedded'?"),
    ('kind = "embedded"\nname = "oracle"', 'model = "x"', 17, "[[oracle]] needs the key 'base_url'"),
    ("[[oracle]]", "[oracle]", 17, "write [[oracle]] with two brackets"),
    ("[[oracle]]", "[[oracel]]", 17, "has no key 'oracel': did you mean 'oracle'?"),
    ('"economy"', '"economie"', 21, "has no operating point 'economie', only 'economy'"),
    ('operating_point = "economy"', "threshold = 3", 22, "threshold must be a number between 0 and 1"),
    ('operating_point = "economy"', "c_esc = 3", 22, 'it belongs into a rule of kind = "escalation"'),
    ('operating_point = "economy"', 'kind = "treshold"', 22, "did you mean 'threshold'?"),
    (
        'operating_point = "economy"',
        'kind = "escalation"\nc_esc = { orcle = 1 }',
        23,
        "no oracle is named 'orcle': did you mean 'oracle'?",
    ),
    ('operating_point = "economy"', 'oracle_tools = "pay"', 22, "oracle_tools must be a list of names"),
    ("early_stop = 0.0", "early_stop = 2.0", 25, "early_stop must be a number between 0 and 1"),
    ("early_stop = 0.0", "port = 1", 25, "[policy] has no key 'port': it belongs into [server]"),
    ("port = 8123", 'port = "8123"', 28, "port must be a whole number, not '8123'"),
    ("port = 8123", "port = 81230", 28, "port must be a whole number between 0 and 65535"),
    ("port = 8123", "explore = 0.1", 28, "it belongs at the top of the file"),
    ("port = 8123", "limits = 3", 28, "limits must be a table, not 3"),
    ("port = 8123", "limits = { body = 0 }", 28, "body must be a whole number of at least 1"),
    ('mode = "shadow"', 'mode = "shdow"', 29, "mode cannot be 'shdow': did you mean 'shadow'?"),
    ('mode = "shadow"', "mode = true", 29, "mode must be"),
    ('mode = "shadow"', 'mode = "shadow"\nmode = "crowd"', 30, "not TOML"),
    ('mode = "shadow"', 'mode = "shadow', 29, "not TOML"),
    ('mode = "shadow"', "mode = [", 30, "not TOML"),
]
MORE = [
    # what is added at the end
    (
        "[prices.tiny]\ninput = 1\noutput = 1\nsource = 's'\ndate = '2026-01-01'",
        30,
        "did you mean 'tiny-add'?",
    ),
    (
        "[prices.oracle]\ninput = 1\noutput = '2'\nsource = 's'\ndate = '2026-01-01'",
        32,
        "output must be a number",
    ),
    (
        "[prices.oracle]\ninput = -1\noutput = 2\nsource = 's'\ndate = '2026-01-01'",
        31,
        "input must be a number",
    ),
    ("[prices.oracle]\ninput = 1\noutput = 2", 30, "[prices.oracle] needs the key 'source'"),
    ("[judge]\nkind = 'embedded'", 30, "[judge] needs the key 'name'"),
    ("[srver]\nport = 1", 30, "did you mean 'server'?"),
]


class TestErrors:
    @pytest.mark.parametrize(("old", "new", "line", "words"), WRONG)
    def test_names_file_line_and_what_would_be_right(self, write, old, new, line, words):
        assert old in EMBEDDED
        path = write(EMBEDDED.replace(old, new, 1))
        told = refused(path)
        assert words in told
        assert told.startswith(f"{path}, line {line}: ")

    @pytest.mark.parametrize(("text", "line", "words"), MORE)
    def test_names_the_line_of_what_was_added(self, write, text, line, words):
        path = write(f"{EMBEDDED}{text}\n")
        told = refused(path)
        assert words in told
        assert told.startswith(f"{path}, line {line}: ")

    @pytest.mark.parametrize(
        ("old", "new", "line", "words"),
        [
            ('"http://127.0.0.1:9/v1/"', '"127.0.0.1:9/v1"', 3, "base_url must be an address"),
            (
                "top_logprobs = 5",
                "top_logprobs = 99",
                5,
                "top_logprobs must be a whole number between 1 and 20",
            ),
            ("connect = 2", "connect = 0", 10, "connect must be a number of seconds above 0"),
            ("connect = 2", "conect = 2", 10, "did you mean 'connect'?"),
            ("attempts = 5", "attempts = 0.5", 11, "attempts must be a whole number"),
            ("seed = 7", 'model = "x"', 12, "extra has 'model', which the endpoint sets itself"),
            ('api_key_env = "LARGE_KEY"', 'api_key_env = "LARGE KEY"', 22, "api_key_env must be the name"),
        ],
    )
    def test_of_an_endpoint_as_well(self, write, old, new, line, words):
        assert old in ENDPOINTS
        path = write(ENDPOINTS.replace(old, new, 1))
        told = refused(path)
        assert words in told
        assert told.startswith(f"{path}, line {line}: ")

    def test_a_missing_file_says_what_writes_one(self, tmp_path):
        assert "`pyramid init` writes one" in refused(tmp_path / "none.toml")

    def test_a_folder_is_no_configuration(self, tmp_path):
        assert "cannot be read" in refused(tmp_path)

    def test_a_file_without_members_says_what_is_missing(self, write):
        assert refused(write("")).endswith("there is no [[crowd]]: give the table of at least one model")

    def test_another_encoding_is_named_with_its_line(self, tmp_path):
        path = tmp_path / "pyramid.toml"
        path.write_bytes(b"# fine\nrouter = '\xe9'\n")
        assert refused(path) == f"{path}, line 2: not UTF-8: save the file in that encoding"

    def test_a_huge_file_is_not_parsed(self, write):
        assert "more than" in refused(write("#" * (MOST_BYTES + 1)))


class TestSecrets:
    KEY = "sk-planted0123456789abcdef"

    @pytest.mark.parametrize(
        "line",
        [
            'api_key = "{key}"',
            'api_key_env = "{key}"',
            'key = "anything"',
            'password = "anything"',
            'headers = {{ Authorization = "Bearer {key}" }}',
            'extra = {{ deep = [{{ er = "{key}" }}] }}',
            'base_url = "http://user:{key}@127.0.0.1/v1"',
        ],
    )
    def test_a_key_in_the_file_is_refused_and_not_repeated(self, write, line):
        text = ENDPOINTS.replace('api_key_env = "LARGE_KEY"', line.format(key=self.KEY))
        if line.startswith("base_url"):
            text = text.replace('[[oracle]]\nbase_url = "http://127.0.0.1:9/v1"\n', "[[oracle]]\n")
        told = refused(write(text))
        assert "must not be in this file" in told
        assert "api_key_env" in told
        assert self.KEY not in told

    def test_nor_where_the_file_is_no_toml(self, write):
        assert self.KEY not in refused(write(f"api_key = {self.KEY}\n"))

    def test_a_read_configuration_shows_no_text_of_the_file(self, write):
        assert "comment" not in repr(load_configuration(write(EMBEDDED)))


class TestLines:
    TEXT = '# one\na = 1\nb = [\n  1,\n  2,\n]\nc = """\nx\n\ny"""\n\n[t]\nd.e = 1\n[[u]]\n[[u]]\nf = 2\n'

    @pytest.mark.parametrize(
        ("place", "line"),
        [
            (("a",), 2),
            (("b",), 3),
            (("c",), 7),
            (("t",), 12),
            (("t", "d", "e"), 13),
            (("u", 0), 14),
            (("u", 1), 15),
            (("u", 1, "f"), 16),
            (("z",), None),
            (("u", 2), None),
        ],
    )
    def test_where_a_value_begins(self, write, place, line):
        assert Source.read(write(self.TEXT)).line(place) == line


class TestTemplate:
    @pytest.mark.parametrize("embedded", [True, False])
    def test_what_is_written_can_be_read(self, write, embedded):
        told = load_configuration(write(template(embedded=embedded, today="2026-03-05")))
        assert len(told.crowd) == 3
        assert told.pyramid().rule.operating_point == "baseline-match"

    @pytest.mark.parametrize("embedded", [True, False])
    def test_what_is_commented_out_can_be_read_too(self, write, embedded):
        text = template(embedded=embedded, today="2026-03-05")
        lines = text.splitlines()
        told = load_configuration(
            write(
                "\n".join(
                    line.removeprefix("# ") if line.startswith("# ") and " = " in line[:20] else line
                    for line in lines
                )
            )
        )
        assert (told.top.deadline, told.top.explore, told.policy.width) == (60, 0.05, 1)
        assert told.rule.threshold == 0.4

    def test_nothing_is_overwritten(self, write):
        path = write("mine")
        with pytest.raises(InputError, match="is there already and is not overwritten"):
            write_template(path, "theirs")
        assert path.read_text() == "mine"

    def test_a_place_that_is_not_there_is_named(self, tmp_path):
        with pytest.raises(InputError, match="cannot be written"):
            write_template(tmp_path / "none" / "pyramid.toml", "x")
