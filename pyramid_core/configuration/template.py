"""What `pyramid init` writes: a configuration with every table in it, each with a word on what it is for."""

from __future__ import annotations

import os
from pathlib import Path

from pyramid_core.errors import InputError

_TOP = """\
# A pyramid: a crowd of cheap models that are asked first, an oracle that is asked where they are probably wrong.
# Keys are never in this file: api_key_env names the environment variable that holds one.
#
#     pyramid check                          calls each model once and says what to fix
#     pyramid collect QUERIES -o traces.jsonl.gz   asks all of them your own questions
#     pyramid serve                          answers as one model, over HTTP

# Who predicts whether the crowd is wrong: "agreement" needs no training{router_note}. The folder of a router
# that `pyramid train` has written goes here, with a path separator in it: "./router".
router = "{router}"

# Seconds for each query; without it there is no limit.
# deadline = 60

# The share of accepted queries whose oracle is asked all the same, so that traces stay fit for training.
# explore = 0.05
"""

_REST = """
# When to escalate. "threshold": where p_fail is above a threshold, from the router's card or given here.
# "escalation": Eq. 5 with your own costs, in one unit: c_esc, u_correct and, if the router cannot say, p_oracle.
[rule]
kind = "threshold"
operating_point = "baseline-match"  # or "balanced" or "economy", which save more and lose a little
# threshold = 0.4

# When the rule is asked, and what runs meanwhile.
[policy]
early_stop = 0.0   # cancel a call as soon as its answer cannot change the verdict
# width = 1        # ask the crowd one after another
# speculate = 0.8  # start the oracle early where it will be asked with at least this probability

# What `pyramid serve` does. mode = "shadow": the oracle answers, and the crowd is asked beside it.
[server]
host = "127.0.0.1"  # any other address needs a key, in the environment variable PYRAMID_SERVER_KEY
port = 8000
mode = "pyramid"
# trace_file = "traces.jsonl"
"""

_ENDPOINTS = """
# The crowd: models behind OpenAI-compatible addresses (a provider, vLLM, Ollama, llama.cpp), one [[crowd]] each.
[[crowd]]
name = "small-a"
base_url = "http://127.0.0.1:11434/v1"
model = "qwen2.5:7b"

[[crowd]]
name = "small-b"
base_url = "http://127.0.0.1:11434/v1"
model = "llama3.1:8b"

[[crowd]]
name = "small-c"
base_url = "http://127.0.0.1:11434/v1"
model = "gemma2:9b"
# temperature = 0.0
# max_tokens = 1024
# top_logprobs = 5       # where the server gives log-probabilities: a router can learn from them
# max_concurrency = 32
# timeouts = { connect = 5, first = 120, total = 600 }
# retries = { attempts = 3 }

# The oracle: [[oracle]] may stand here several times, the cheapest first.
[[oracle]]
name = "large"
base_url = "https://api.openai.com/v1"
model = "gpt-4.1"
api_key_env = "OPENAI_API_KEY"

# Prices in USD per million tokens, by the member's name. Without them the price list of a provider that is known holds
# (pip install "pyramid-moa[prices]"); a model that nobody lists costs an unknown amount, never nothing.
[prices.small-a]
input = 0.0
output = 0.0
source = "our own machine, not billed"
date = "{today}"

[prices.small-b]
input = 0.0
output = 0.0
source = "our own machine, not billed"
date = "{today}"

[prices.small-c]
input = 0.0
output = 0.0
source = "our own machine, not billed"
date = "{today}"
"""

_EMBEDDED = """
# Real but tiny models that ship inside the package: no key, no network. They speak arithmetic word problems only.
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
"""


def template(*, embedded: bool, today: str) -> str:
    """The text of a new configuration.

    Args:
        embedded: of the models that ship inside the package, so that everything can be tried offline.
        today: the date of its prices, as YYYY-MM-DD.
    """
    note = ', "embedded" ships for the models below' if embedded else ""
    top = _TOP.format(router="embedded" if embedded else "agreement", router_note=note)
    return top + (_EMBEDDED if embedded else _ENDPOINTS.replace("{today}", today)) + _REST


def write_template(path: Path, text: str) -> None:
    """Write a new configuration; nothing is ever overwritten.

    Raises:
        InputError: something is there already, or it cannot be written.
    """
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        raise InputError(f"{path} is there already and is not overwritten: name another, -c PATH") from None
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): name another, -c PATH") from error
    with os.fdopen(file, "w", encoding="utf-8", newline="\n") as opened:
        opened.write(text)
