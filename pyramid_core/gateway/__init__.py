"""`pyramid serve`: the pyramid behind OpenAI's HTTP interface, for any client in any language.

settings    where it listens, whom it lets in, how much it takes
building    pyramids that share members and router
gateway     names of models and the mode decide who is asked; without HTTP
direct      one member alone
shadow      the crowd, asked beside an oracle that has answered
ceilings    what one query may cost
requests    a request's body, its limits and overrides
refusals    errors in OpenAI's shape
door        ids, keys, errors, the log: around every request
http        bodies, clients that leave, streams
app         the routes
watching    a deliberation as it goes on, for the page
page        the page at /
server      uvicorn: start, signals, stop
metrics, logs, spans    what can be seen from outside
"""

from __future__ import annotations

from pyramid_core.errors import MissingExtra

try:
    from pyramid_core.gateway.app import build_app
    from pyramid_core.gateway.embedded import embedded_build
    from pyramid_core.gateway.gateway import Gateway
    from pyramid_core.gateway.server import serve
    from pyramid_core.gateway.settings import Keys, Settings
except ModuleNotFoundError as error:
    if error.name is None or error.name.startswith("pyramid_core"):
        raise
    raise MissingExtra(error.name, "serve") from error

__all__ = ["Gateway", "Keys", "Settings", "build_app", "embedded_build", "serve"]
