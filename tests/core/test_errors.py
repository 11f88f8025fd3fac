"""What looks like a key leaves no trace; what only resembles one stays."""

import time

import pytest

from pyramid_core.errors import redacted

SECRET = [
    "Incorrect API key provided: {sk-proj-abc***xyz12}",
    "x-api-key: {0123456789abcdef0123}",
    "api_key='{abcd1234}'",
    '{{"api_key": "{abcd1234efgh}"}}',
    "Authorization: Bearer {abc.def}",
    "Authorization: Basic {dXNlcjpwYXNz}",
    "https://host/v1?key={AIzaSyA1234567890123456789012}&x=1",
    "access denied for {AKIAIOSFODNN7EXAMPLE}",
    "bad token {ghp_abcdefghijklmnopqrstuvwxyz0123456789}",
    "bad key {nvapi-AbCdEf123456789}",
    "expired {eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdefg}",
    "cannot connect to postgres://{user:password}@host/base",
]


@pytest.mark.parametrize("template", SECRET)
def test_what_looks_like_a_key_is_taken_out(template):
    before, secret, after = (
        part.replace("\0", "{").replace("\1", "}")
        for part in template.replace("{{", "\0").replace("}}", "\1").replace("}", "{").split("{")
    )
    assert redacted(before + secret + after) == f"{before}[redacted]{after}"


@pytest.mark.parametrize(
    "text",
    ["the key-value store", "API key: set OPENAI_API_KEY", "https://host/v1/who@where"],
)
def test_an_error_without_a_key_stays_readable(text):
    assert redacted(text) == text


@pytest.mark.parametrize("hostile", ["eyJaaaaaaaa-", "://a", "api key  ", "sk-a ", "bearer "])
def test_a_long_message_costs_little(hostile):
    text = hostile * (200_000 // len(hostile))
    start = time.perf_counter()
    redacted(text)
    assert time.perf_counter() - start < 2.0
