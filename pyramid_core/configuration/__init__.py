"""`pyramid.toml`: members, prices, router, rule, policy and server in one checked file, without keys.

The file is checked as a whole before anybody is asked; what it describes is built afterwards.

source      a TOML file that knows its lines
tables      from a table to a frozen dataclass
settings    what may be said, table by table
loading     the whole file, and the pyramid that it describes
"""

from pyramid_core.configuration.loading import FILE, Configuration, MemberTable, load_configuration
from pyramid_core.configuration.settings import (
    EmbeddedSettings,
    EndpointSettings,
    Limits,
    Mode,
    PriceSettings,
    ServerSettings,
    ShadowBudget,
    TopSettings,
)

__all__ = [
    "FILE",
    "Configuration",
    "EmbeddedSettings",
    "EndpointSettings",
    "Limits",
    "MemberTable",
    "Mode",
    "PriceSettings",
    "ServerSettings",
    "ShadowBudget",
    "TopSettings",
    "load_configuration",
]
