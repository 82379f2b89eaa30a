"""Hosts on this machine: network namespaces, each with an address of its own, and a bridge between them.

Belongs here: starting commands on a host, cutting it off, mending it, killing it, and ways to servers that listen on
127.0.0.1. Does not belong here: the servers (`servers`), what is tested or measured.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from market_data_pipeline_tests.servers import Link

_TRIES = 20


class NoHosts(Exception):
    """Here are no network namespaces; the message says why."""


@dataclass(frozen=True)
class Host:
    """A host: a namespace with its own address, whose processes reach the others by way of the bridge."""

    name: str
    address: str
    _cable: str

    @property
    def under(self) -> tuple[str, ...]:
        """The words before a command that let it run on this host."""
        return ("ip", "netns", "exec", self.name)

    def cut(self) -> None:
        """Let nothing reach the host, and nothing of it reach others; no connection is told."""
        _ip("link", "set", self._cable, "down")

    def mend(self) -> None:
        """Connect it again; connections of before may go on."""
        _ip("link", "set", self._cable, "up")

    def kill(self) -> None:
        """End all of its processes with SIGKILL."""
        for process in _ip("netns", "pids", self.name).split():
            with suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)


@dataclass(frozen=True)
class Network:
    """The hosts, and the address at which this machine itself is to be reached from them."""

    address: str
    hosts: tuple[Host, ...]
    _links: list[Link] = field(default_factory=list)

    def way_to(self, port: int) -> int:
        """The port at `address` that leads to a server at a port of 127.0.0.1."""
        self._links.append(Link("127.0.0.1", port, at=self.address))
        return self._links[-1].port

    @property
    def environment(self) -> dict[str, str]:
        """The variables that let programs on a host use no proxy on the way to `address`."""
        return {"NO_PROXY": f"{self.address},127.0.0.1", "no_proxy": f"{self.address},127.0.0.1"}


@contextmanager
def network(count: int) -> Iterator[Network]:
    """So many hosts, which are gone after the block with all of their processes.

    Raises:
        NoHosts: it needs root on Linux.
    """
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("ip") is None:
        raise NoHosts("network namespaces need root on Linux, and the program `ip`")
    with ExitStack() as stack:
        try:
            bridge, prefix = _bridge(stack)
            hosts = tuple(_host(stack, bridge, prefix, number) for number in range(1, count + 1))
        except subprocess.CalledProcessError as error:
            raise NoHosts(f"{' '.join(error.cmd)}: {error.stderr.strip()}") from error
        made = Network(f"{prefix}.1", hosts)
        try:
            yield made
        finally:
            for host in hosts:
                host.kill()
            for link in made._links:
                link.cut()


def _bridge(stack: ExitStack) -> tuple[str, str]:
    """A bridge; its name, and the first three numbers of its network, one of those that are for tests."""
    for _ in range(_TRIES):
        name, prefix = f"md{random.randrange(1 << 24):06x}", f"198.18.{random.randrange(1, 255)}"
        if f"{prefix}." not in _ip("-4", "addr", "show"):
            break
    _ip("link", "add", name, "type", "bridge")
    stack.callback(_ip, "link", "del", name)
    _ip("addr", "add", f"{prefix}.1/24", "dev", name)
    _ip("link", "set", name, "up")
    return name, prefix


def _host(stack: ExitStack, bridge: str, prefix: str, number: int) -> Host:
    host = Host(f"{bridge}-{number}", f"{prefix}.{10 + number}", f"{bridge}-v{number}")
    _ip("netns", "add", host.name)
    stack.callback(_ip, "netns", "del", host.name)
    _ip("link", "add", host._cable, "type", "veth", "peer", "name", "eth0", "netns", host.name)
    # A connection that was cut keeps a namespace, and what is in it, for minutes.
    stack.callback(_ip, "link", "del", host._cable)
    _ip("link", "set", host._cable, "master", bridge, "up")
    _ip("-n", host.name, "link", "set", "lo", "up")
    _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
    _ip("-n", host.name, "link", "set", "eth0", "up")
    return host


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout
