"""Models over HTTP as members of a pyramid, and the wire format that they speak.

endpoint    `Endpoint`: the settings, and the member's four ways of asking
calls       one call: its turn, its tries, its response
settings    `Timeouts` and `Retries`;  limits: their clocks, and whose turn it is
transport   connections, one session for each event loop;  loops: the event loop of those who have none
replies     what statuses, headers and bodies mean
keys        where a key comes from
logprobs    the shapes of log-probabilities
wire        chat completions, both ways, without I/O
"""

from pyramid_core.endpoints.endpoint import Endpoint
from pyramid_core.endpoints.settings import Retries, Timeouts

__all__ = [
    "Endpoint",
    "Retries",
    "Timeouts",
]
