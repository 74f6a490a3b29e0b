"""Networks of task containers, tried from inside of real ones."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import docker
import pytest

from integration_tests.components.hosts import Hosts
from integration_tests.components.lacking import lacking
from integration_tests.outside import (
    METADATA,
    NAME,
    OPENED,
    PLATFORM,
    PORT,
    PRIVATE,
    PUBLIC,
    addresses_of_host,
    outside,
)
from services.common.errors import FailedPrecondition
from services.executor.engines.docker import networks as networks_module
from services.executor.engines.docker.firewall import parse_ranges
from services.executor.engines.docker.networks import NetworkOptions, Networks
from services.executor.engines.docker.shells import Finished, HelperShell, LocalShell

IMAGE = "python:3.11-slim-bookworm"
TRY = """
import json, socket, sys
found = {}
for target in sys.argv[1:]:
    host, port = target.rsplit(":", 1)
    try:
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            found[target] = connection.recv(100).decode() or "connected"
    except OSError as error:
        found[target] = type(error).__name__ + ": " + str(error)
print(json.dumps(found))
"""
LISTEN = """
import socket
with socket.create_server(("0.0.0.0", 8000)) as server:
    while True:
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"a container")
"""
OPTIONS = NetworkOptions("outside", parse_ranges(["10.211.78.0/24"]), (f"http://{PLATFORM}:8090",))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, docker_url: str) -> Iterator[object]:
    """Addresses outside of the host."""
    if subprocess.run(["ip", "netns"], capture_output=True, check=False).returncode != 0:
        lacking("network namespaces need root and iproute2")
    yield from outside(tmp_path_factory.mktemp("outside") / "log")


@pytest.fixture(scope="module")
def client(docker_url: str) -> Iterator[docker.DockerClient]:
    """A client of the engine."""
    made = docker.DockerClient(base_url=docker_url, timeout=60)
    yield made
    made.close()


class Made:
    """Networks of executors that are closed at the end, and containers in them."""

    def __init__(self, client: docker.DockerClient) -> None:
        self.client = client
        self.mark = f"hgrt-{uuid.uuid4().hex[:8]}"
        self.made: list[Networks] = []

    async def networks(self, options: NetworkOptions = OPTIONS, name: str = "") -> Networks:
        """Starts the networks of an executor."""
        networks = Networks(self.client, options, f"{self.mark}{name}")
        self.made.append(networks)
        await networks.start()
        return networks

    async def tries(self, network: str, *targets: str, **options: Any) -> dict[str, str]:
        """What a container in a network gets from TCP targets."""
        return await asyncio.to_thread(self._tries, network, targets, options)

    def _tries(self, network: str, targets: tuple[str, ...], options: dict[str, Any]) -> dict[str, str]:
        container = self.run(network, ["python3", "-c", TRY, *targets], **options)
        assert container.wait(timeout=120)["StatusCode"] == 0, container.logs()
        found: dict[str, str] = json.loads(container.logs())
        return found

    def run(self, network: str, command: list[str], **options: Any) -> Any:
        """Starts a container in a network, hardened as those of tasks are."""
        return self.client.containers.run(
            IMAGE,
            command,
            detach=True,
            network=network,
            user="65534:65534",
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            labels={"hgrt": self.mark},
            **options,
        )

    async def close(self) -> None:
        """Removes everything, and fails when anything is left."""
        for container in self.client.containers.list(all=True, filters={"label": f"hgrt={self.mark}"}):
            container.remove(force=True, v=True)
        for networks in self.made:
            await networks.close()
        left = [network.name for network in self.client.networks.list() if self._is_ours(network)]
        assert left == []
        saved = filter_rules()
        assert not [networks._prefix for networks in self.made if networks._prefix in saved], saved

    def _is_ours(self, network: Any) -> bool:
        return str((network.attrs["Labels"] or {}).get("hangar.executor", "")).startswith(self.mark)


@pytest.fixture
async def made(client: docker.DockerClient) -> AsyncIterator[Made]:
    """Networks and containers that leave nothing behind."""
    made = Made(client)
    try:
        yield made
    finally:
        await made.close()


def filter_rules() -> str:
    """All rules of the host's filter, of both versions."""
    tools = ("iptables-save", "ip6tables-save")
    return "".join(subprocess.run([t], check=True, capture_output=True, text=True).stdout for t in tools)


def refused(answer: str) -> bool:
    """Whether a packet was refused by a rule: at once, neither answered nor lost."""
    return "No route to host" in answer


async def test_none_has_no_network(made: Made) -> None:
    """Without a policy nothing is made on the host, and a container has loopback only."""
    networks = await made.networks(NetworkOptions())
    assert await networks.network_of("p", "d") == "none"
    assert rules_of(filter_rules(), networks) == []
    found = await made.tries("none", f"{PUBLIC}:{PORT}", f"{METADATA}:{PORT}")
    assert all("Network is unreachable" in answer for answer in found.values()), found


async def test_outside_is_reachable_and_the_rest_is_not(made: Made, world: object) -> None:
    """From inside, the outside and what is opened answer; private, metadata and platform addresses refuse at once."""
    network = await (await made.networks()).network_of("p", "d")
    asked = [f"{address}:{PORT}" for address in (PUBLIC, OPENED, PRIVATE, PLATFORM, METADATA)]
    found = await made.tries(network, *asked)
    assert [found[target] for target in asked[:2]] == [PUBLIC, OPENED]
    assert all(refused(found[target]) for target in asked[2:]), found


async def test_the_host_is_closed(made: Made, world: object) -> None:
    """No port of the host answers at any of its addresses, those that containers publish included."""
    network = await (await made.networks()).network_of("p", "d")
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        gateway = made.client.networks.get(network).attrs["IPAM"]["Config"][0]["Gateway"]
        published = made.run("bridge", ["python3", "-c", LISTEN], ports={"8000/tcp": None})
        published.reload()
        proxied = published.ports["8000/tcp"][0]["HostPort"]
        await asyncio.to_thread(answers, "127.0.0.1", int(proxied))
        targets = [
            f"{address}:{number}" for address in {*addresses_of_host(), gateway} for number in (port, proxied)
        ]
        targets.append(f"{published.attrs['NetworkSettings']['IPAddress']}:8000")
        found = await made.tries(network, *targets)
        assert all(refused(answer) for answer in found.values()), found


def answers(host: str, port: int) -> None:
    """Waits until a container's listener answers, which shows that it is there for the test."""
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=5) as connection:
            if connection.recv(100) == b"a container":
                return
        threading.Event().wait(0.05)
    raise AssertionError(f"nothing answers at {host}:{port}")


async def test_containers_do_not_reach_each_other(made: Made, world: object) -> None:
    """A container of another project, and one of the same, are out of reach, whatever ranges are opened."""
    networks = await made.networks(NetworkOptions("outside", parse_ranges(["0.0.0.0/0"])))
    first, other = await networks.network_of("p", "d"), await networks.network_of("q", "d")
    listener = made.run(first, ["python3", "-c", LISTEN])
    address = await asyncio.to_thread(address_in, listener, first)
    await asyncio.to_thread(answers, address, 8000)  # the host itself may ask it
    for network in (first, other):
        found = await made.tries(network, f"{address}:8000", f"{PUBLIC}:{PORT}")
        assert found[f"{address}:8000"] == "TimeoutError: timed out", "Docker itself drops it"
        assert found[f"{PUBLIC}:{PORT}"] == PUBLIC


def address_in(container: Any, network: str) -> str:
    """Waits until a container has its address in a network."""
    for _ in range(200):
        container.reload()
        if address := str(container.attrs["NetworkSettings"]["Networks"][network]["IPAddress"]):
            return address
        threading.Event().wait(0.05)
    raise AssertionError(f"{container.name} is {container.status}")


async def test_names_resolve(made: Made, world: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's resolver asks the host's name server, at a private address, through the rules; nothing else does."""
    monkeypatch.setattr(networks_module, "_NAME_SERVERS", f"echo nameserver {PRIVATE}")
    network = await (await made.networks()).network_of("p", "d")
    found = await made.tries(
        network, f"{NAME}:{PORT}", f"no.{NAME}:{PORT}", f"{PRIVATE}:{PORT}", dns=[PRIVATE]
    )
    assert found[f"{NAME}:{PORT}"] == PUBLIC
    assert "gaierror" in found[f"no.{NAME}:{PORT}"]
    assert refused(found[f"{PRIVATE}:{PORT}"])


async def test_no_ipv6(made: Made) -> None:
    """A container has no IPv6 address over which it could reach the host, not even a link-local one."""
    networks = await made.networks()
    network = await networks.network_of("p", "d")
    container = made.run(network, ["cat", "/proc/net/if_inet6"])
    await asyncio.to_thread(container.wait)
    assert b"eth0" not in container.logs()
    dropped = [f"-A {chain} -i {networks._prefix}+ -j DROP" for chain in ("INPUT", "FORWARD")]
    assert [line for line in filter_rules().splitlines() if line in dropped] == dropped


async def test_one_network_for_many_callers(made: Made) -> None:
    """Callers of one project and domain get one network, also over two executors' lives; others get others."""
    networks = await made.networks()
    names = await asyncio.gather(*(networks.network_of("p", "d") for _ in range(8)))
    assert len(set(names)) == 1
    assert await networks.network_of("p", "e") != names[0]
    assert await networks.network_of("p-d", "e") != await networks.network_of("p", "d-e")
    attrs = made.client.networks.get(names[0]).attrs
    assert attrs["Labels"] == {"hangar.executor": made.mark, "hangar.project": "p", "hangar.domain": "d"}
    interface = attrs["Options"]["com.docker.network.bridge.name"]
    assert interface.startswith("hgr-")
    assert len(interface) == 15
    assert len(made.client.networks.list(names=[names[0]])) == 1
    assert await (await made.networks()).network_of("p", "d") == names[0]


async def test_executors_keep_their_own(made: Made, world: object) -> None:
    """An executor that starts or closes leaves another's networks and rules; those with a container stay as well."""
    one, two = await made.networks(name="one"), await made.networks(name="two")
    kept = await one.network_of("p", "d")
    made.run(kept, ["sleep", "600"])
    gone, other = await one.network_of("q", "d"), await two.network_of("p", "d")
    await one.close()
    names = {network.name for network in made.client.networks.list()}
    assert {kept, other} <= names
    assert gone not in names
    found = await made.tries(kept, f"{PRIVATE}:{PORT}")
    assert refused(found[f"{PRIVATE}:{PORT}"]), "its rules stay as long as a container needs them"
    await two.close()
    assert other not in {network.name for network in made.client.networks.list()}
    found = await made.tries(kept, f"{PRIVATE}:{PORT}")
    assert refused(found[f"{PRIVATE}:{PORT}"])


async def test_rules_come_back(made: Made, world: object) -> None:
    """Rules that were flushed are there again after `reapply`, and by themselves before the next container."""
    networks = await made.networks()
    network = await networks.network_of("p", "d")
    before = filter_rules()
    for again in (networks.reapply, lambda: networks.network_of("p", "d")):
        take_away(networks._prefix)
        networks._applied_at -= networks_module.FRESH_SECONDS
        await again()
        assert rules_of(filter_rules(), networks) == rules_of(before, networks)
    await networks.reapply()
    assert rules_of(filter_rules(), networks) == rules_of(before, networks), "applied twice, there once"
    assert refused((await made.tries(network, f"{PRIVATE}:{PORT}"))[f"{PRIVATE}:{PORT}"])


def take_away(prefix: str) -> None:
    """Flushes what leads to the rules, as a firewall that is restarted does."""
    mark = prefix.removeprefix("hgr-")
    for jump in (("DOCKER-USER", "TASKS"), ("INPUT", "HOST")):
        arguments = ["-D", jump[0], "-i", f"{prefix}+", "-j", f"HANGAR-{jump[1]}-{mark}"]
        subprocess.run(["iptables", "-w", *arguments], check=True)
        subprocess.run(["iptables", "-w", "-F", f"HANGAR-{jump[1]}-{mark}"], check=True)


def rules_of(saved: str, networks: Networks) -> list[str]:
    """The rules of an executor, without counters."""
    mark = networks._prefix.removeprefix("hgr-")
    return sorted(line for line in saved.splitlines() if line.startswith("-A") and f"-{mark}" in line)


async def test_helper_container(made: Made, world: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """An executor that cannot write the host's filter runs its own image with the host's network to do so."""
    ran: list[str] = []

    class Helper(HelperShell):
        """Runs the script in a real container with the host's network; iptables is the host's own there."""

        async def run(self, script: str) -> Finished:
            done = await super().run("ls /sys/class/net; id -u; grep CapEff /proc/self/status")
            ran.append(done.output)
            return await LocalShell().run(script)

    monkeypatch.setattr(networks_module, "HelperShell", Helper)
    monkeypatch.setattr(Networks, "_is_here", lambda _: False)
    networks = Networks(made.client, OPTIONS, f"{made.mark}-helper", own_image=IMAGE)
    made.made.append(networks)
    await networks.start()
    network = await networks.network_of("p", "d")
    assert refused((await made.tries(network, f"{PRIVATE}:{PORT}"))[f"{PRIVATE}:{PORT}"])
    lines = ran[0].splitlines()
    assert "docker0" in lines, "it has the host's network"
    assert lines[-2:] == ["0", "CapEff:\t0000000000003000"], "and no right but to configure it"
    label = f"hangar.helper={made.mark}-helper"
    assert made.client.containers.list(all=True, filters={"label": label}) == []


async def test_network_that_is_turned_off(made: Made) -> None:
    """An executor that was killed with a network and starts again without one removes network and rules."""
    killed = await made.networks()
    assert rules_of(filter_rules(), killed)
    network = await killed.network_of("p", "d")
    made.made.remove(killed)
    await made.networks(NetworkOptions())
    assert network not in {each.name for each in made.client.networks.list()}
    assert rules_of(filter_rules(), killed) == []


async def test_policy_that_cannot_be_enforced(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """An executor that can write the host's filter in no way refuses to start, and leaves nothing."""
    monkeypatch.setattr(Networks, "_is_here", lambda _: False)
    with pytest.raises(FailedPrecondition, match="HANGAR_EXECUTOR_NETWORK=none"):
        await made.networks()


async def test_engine_in_another_network(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine whose bridges are not here is told apart; where its filter is, rules survive its restart."""
    host = Made(docker.DockerClient(base_url=hosts.url(1), timeout=60))

    class Inside(LocalShell):
        """Runs scripts in the network of the host."""

        async def run(self, script: str) -> Finished:
            done = await asyncio.to_thread(
                subprocess.run,
                hosts.inside(1, "/bin/sh", "-c", script),
                capture_output=True,
                text=True,
                check=False,
            )
            return Finished(done.returncode, done.stdout + done.stderr)

    async def inside(_: Networks) -> Inside:
        return Inside()

    async def saved() -> list[str]:
        return rules_of((await Inside().run("iptables-save; ip6tables-save")).output, networks)

    with pytest.raises(FailedPrecondition, match="runs in another network"):
        await host.networks()
    monkeypatch.setattr(Networks, "_choose_shell", inside)
    networks = await host.networks()
    network = await networks.network_of("p", "d")
    before = await saved()
    assert before
    hosts.stop_engine(1)
    hosts.start_engine(1)
    assert await saved() == before
    forward = (await Inside().run("iptables -S FORWARD")).output.splitlines()
    assert forward[1] == "-A FORWARD -j DOCKER-USER", "the engine asks these rules before its own"
    await networks.reapply()
    assert await saved() == before
    assert await networks.network_of("p", "d") == network
    await networks.close()
    assert await saved() == []
    host.client.close()
