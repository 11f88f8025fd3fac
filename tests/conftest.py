"""What holds for every test: no network but loopback, one thread for numeric work, property tests without a clock."""

import ipaddress
import os
import socket

import pytest
from hypothesis import settings

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # OpenMP's threads stall for tens of milliseconds on a busy machine.
for variable in ("LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING", "LANGCHAIN_TRACING_V2"):
    os.environ.pop(variable, None)  # A developer's own tracing must not see the tests.

# A busy machine is no reason to fail; in CI the same examples come every time.
settings.register_profile("house", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("house")


class OutsideWorldError(AssertionError):
    """A test tried to leave the machine. An AssertionError, so that no client takes it for a network failure."""


def is_loopback(host: object) -> bool:
    """Whether `host`, as the socket module takes it, is this machine."""
    if host in {None, "", b"", "localhost", b"localhost"}:
        return True
    name = host.decode() if isinstance(host, bytes) else str(host)
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False


def refuse_unless_loopback(address: object) -> None:
    """Raise for an internet address (host, port, ...) that is not on this machine; paths of Unix sockets pass."""
    if isinstance(address, tuple) and not is_loopback(address[0]):
        raise OutsideWorldError(f"a test tried to reach {address!r}; only loopback addresses are allowed")


class LoopbackSocket(socket.socket):
    """A socket that reaches this machine and no other."""

    def connect(self, address):
        refuse_unless_loopback(address)
        return super().connect(address)

    def connect_ex(self, address):
        refuse_unless_loopback(address)
        return super().connect_ex(address)

    def sendto(self, data, *flags_and_address):
        refuse_unless_loopback(flags_and_address[-1])
        return super().sendto(data, *flags_and_address)


@pytest.fixture(autouse=True, scope="session")
def loopback_only():
    """Refuse every connection and every look-up of a name outside this machine."""
    look_up = socket.getaddrinfo

    def guarded(host, *args, **kwargs):
        refuse_unless_loopback((host,))
        return look_up(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", LoopbackSocket)
        patch.setattr(socket, "getaddrinfo", guarded)
        yield
