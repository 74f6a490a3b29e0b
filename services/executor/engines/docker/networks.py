"""Networks of task containers: none at all, or one bridge per project and domain behind rules of the host."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import time
from collections import defaultdict
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import docker
import structlog
from docker.errors import APIError, NotFound
from docker.types import IPAMConfig

from services.common.errors import FailedPrecondition, Unavailable
from services.executor.engines.docker.firewall import (
    ChainRules,
    Firewall,
    name_servers,
)
from services.executor.engines.docker.shells import HelperShell, LocalShell, Shell, asked

log = structlog.get_logger(__name__)

NONE = "none"
"""What `network_of` returns for containers without a network."""
FRESH_SECONDS = 10.0
"""How long rules that were applied are believed to be there."""
_HANDED_OUT_SECONDS = 120.0
"""How long a network without containers is kept for one that is about to be made."""
_SYS_NET = Path("/sys/class/net")
_NAME_SERVERS = "cat /run/systemd/resolve/resolv.conf 2>/dev/null || cat /etc/resolv.conf"


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """What the operator says about the network of tasks.

    Attributes:
        mode: "none", or "outside": what is neither private nor the platform's is reachable.
        allow: Private ranges that are reachable too.
        platform: Addresses of the platform that stay closed: "host", "host:port" or URLs.
    """

    mode: Literal["none", "outside"] = "none"
    allow: tuple[IPv4Network, ...] = ()
    platform: tuple[str, ...] = ()


class Networks:
    """Gives task containers their network. One executor's networks are never touched by another's.

    Args:
        client: The engine.
        options: What is reachable.
        executor: Identity of the executor: the value of the label ``hangar.executor``.
        own_image: Image of the container that this process runs in, for a helper with the host's network; empty when
            this process is not in a container of the engine.
    """

    def __init__(
        self,
        client: docker.DockerClient,
        options: NetworkOptions,
        executor: str,
        *,
        own_image: str = "",
    ) -> None:
        self._client = client
        self._options = options
        self._executor = executor
        self._own_image = own_image
        self._prefix = bridge_prefix(executor)
        self._firewall: Firewall | None = None
        self._shell: Shell | None = None
        self._rules: ChainRules | None = None
        self._addresses: dict[str, tuple[IPv4Network, ...]] = {}
        self._applied_at = -FRESH_SECONDS
        self._applying = asyncio.Lock()
        self._making: dict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._handed_out: dict[str, float] = {}

    async def start(self) -> None:
        """Gets ready: finds out whether the policy can be enforced, and does so. Removes unused networks.

        Raises:
            FailedPrecondition: It cannot be enforced; the message says what is missing
                (reason ``FIREWALL_UNUSABLE``).
            Unavailable: The engine does not answer.
        """
        if self._options.mode == "outside":
            await asked(self._remove_helpers)
            self._shell = await self._choose_shell()
            self._firewall = Firewall(self._shell)
            await self.reapply()
        left, removed = await self._remove_unused()
        if self._options.mode == "none" and removed and not left:
            await self._clear_rules()

    async def close(self) -> None:
        """Removes the networks that no container uses, and the rules when no network is left.

        Raises:
            Unavailable: The engine does not answer.
        """
        self._handed_out.clear()
        left, _ = await self._remove_unused()
        if not left and self._firewall is not None and self._rules is not None:
            await self._firewall.remove(self._rules)

    async def reapply(self) -> None:
        """Makes sure that the rules are in the host's filter: after the engine or a firewall was restarted.

        Raises:
            FailedPrecondition: They cannot be written.
            Unavailable: Writing them failed.
        """
        if self._firewall is None or self._shell is None:
            return
        async with self._applying:
            rules = ChainRules(
                prefix=self._prefix,
                platform=await self._platform(),
                allow=self._options.allow,
                resolvers=name_servers((await self._shell.run(_NAME_SERVERS)).output),
            )
            await self._firewall.apply(rules)
            self._rules, self._applied_at = rules, time.monotonic()

    async def network_of(self, project: str, domain: str) -> str:
        """Returns the name of the network for containers of a project and domain, made if it does not exist.

        The rules are in the host's filter when it returns.

        Returns:
            A network's name, or "none".

        Raises:
            FailedPrecondition: The rules cannot be written any more, or the engine has no address range left.
            Unavailable: The engine does not answer.
        """
        if self._options.mode == "none":
            return NONE
        if time.monotonic() - self._applied_at > FRESH_SECONDS:
            await self.reapply()
        name = f"hangar-{_digest(self._executor, 8)}-{_digest(f'{project}/{domain}', 12)}"
        async with self._making[project, domain]:
            self._handed_out[name] = time.monotonic()
            if not await asked(self._exists, name):
                await self._make(name, project, domain)
        return name

    # -- networks

    async def _make(self, name: str, project: str, domain: str) -> None:
        labels = {"hangar.project": project, "hangar.domain": domain}
        interface = f"{self._prefix}{_digest(name, 7)}"
        try:
            await asked(self._create, name, interface, labels)
        except FailedPrecondition:
            # Address ranges are few (about thirty by default): those of projects at rest are given back.
            _, removed = await self._remove_unused(keep=name)
            if not removed:
                raise
            await asked(self._create, name, interface, labels)

    def _exists(self, name: str) -> bool:
        return any(network.name == name for network in self._client.networks.list(names=[name]))

    def _create(self, name: str, interface: str, labels: dict[str, str]) -> None:
        try:
            self._client.networks.create(
                name,
                driver="bridge",
                check_duplicate=True,
                enable_ipv6=False,
                labels={"hangar.executor": self._executor, **labels},
                options={
                    "com.docker.network.bridge.name": interface,
                    # Containers do not reach each other, those of one project neither.
                    "com.docker.network.bridge.enable_icc": "false",
                },
            )
        except APIError as error:
            if error.status_code == 409 and self._exists(name):  # made by a call that was cut off
                return
            if "address pool" in str(error.explanation):
                message = (
                    "the engine has no address range left for a network of tasks: give it more with "
                    "default-address-pools in daemon.json (one small range per project and domain)"
                )
                raise FailedPrecondition(message, reason="NO_ADDRESS_RANGE") from error
            raise

    async def _remove_unused(self, keep: str = "") -> tuple[int, int]:
        """Removes networks of this executor that no container uses and no one is about to use.

        Returns:
            How many are left, and how many were removed.
        """
        left, removed = await asked(self._remove_all_unused, keep)
        return left, removed

    def _remove_all_unused(self, keep: str) -> tuple[int, int]:
        left = removed = 0
        wanted = time.monotonic() - _HANDED_OUT_SECONDS
        for network in self._client.networks.list(filters={"label": f"hangar.executor={self._executor}"}):
            users = self._client.api.containers(all=True, filters={"network": network.id}, quiet=True)
            if users or network.name == keep or self._handed_out.get(network.name, -1e9) > wanted:
                left += 1
                continue
            try:
                network.remove()
                removed += 1
            except NotFound:
                continue
            except APIError as error:
                log.warning("network.not_removed", network=network.name, error=str(error.explanation))
                left += 1
        return left, removed

    # -- rules

    async def _clear_rules(self) -> None:
        """Removes the rules of the time when there was a network."""
        try:
            await Firewall(await self._choose_shell()).remove(ChainRules(self._prefix))
        except (FailedPrecondition, Unavailable) as error:
            log.warning("network.rules_not_removed", error=error.message)

    async def _choose_shell(self) -> Shell:
        """Returns where the filter of the engine's host is: here, or in a helper container."""
        if await asked(self._is_here):
            local = LocalShell()
            if not self._own_image or (await local.run("iptables -w 5 -n -L DOCKER-USER")).code == 0:
                return local
        if self._own_image:
            return HelperShell(self._client, self._own_image, self._executor)
        message = (
            "the network policy of tasks cannot be enforced: the Docker engine runs in another network than this "
            "process, and this process is not in a container of that engine. Run the executor on the engine's host, "
            "or in a container there, or set HANGAR_EXECUTOR_NETWORK=none, which works without (tasks then have no "
            "network)"
        )
        raise FailedPrecondition(message, reason="FIREWALL_UNUSABLE")

    def _is_here(self) -> bool:
        """Says whether bridges of the engine appear in the network namespace of this process."""
        name, interface = f"hangar-{_digest(self._executor, 8)}-probe", f"{self._prefix}-probe"
        for left in self._client.networks.list(names=[name]):
            left.remove()
        pool = docker.types.IPAMPool(
            subnet="192.0.0.240/29"
        )  # no address of anyone, none of the engine's pool
        probe = self._client.networks.create(
            name,
            driver="bridge",
            ipam=IPAMConfig(pool_configs=[pool]),
            labels={"hangar.executor": self._executor},
            options={
                "com.docker.network.bridge.name": interface,
                "com.docker.network.bridge.enable_icc": "false",
            },
        )
        try:
            return (_SYS_NET / interface).exists()
        finally:
            probe.remove()

    def _remove_helpers(self) -> None:
        """Removes the helper containers of an executor that was killed."""
        label = f"hangar.helper={self._executor}"
        for container in self._client.containers.list(all=True, filters={"label": label}):
            container.remove(force=True)

    async def _platform(self) -> tuple[IPv4Network, ...]:
        """Returns the platform's addresses. One that cannot be looked up now stays what it was."""
        for text in self._options.platform:
            try:
                self._addresses[text] = await asyncio.to_thread(_look_up, text)
            except OSError as error:
                log.warning("network.platform_address_unknown", address=text, error=str(error))
        found = (network for networks in self._addresses.values() for network in networks)
        return tuple(sorted({network for network in found if not network.is_loopback}))


def bridge_prefix(executor: str) -> str:
    """Returns how the names of all bridges of an executor begin."""
    return f"hgr-{_digest(executor, 4)}"


def _digest(text: str, length: int) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()[:length]


def _look_up(text: str) -> tuple[IPv4Network, ...]:
    """Returns the IPv4 addresses of a "host", "host:port" or URL.

    Raises:
        OSError: The name is not known.
    """
    host = urlsplit(text if "://" in text else f"//{text}").hostname
    if not host:
        return ()
    found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
    return tuple(sorted({IPv4Network(entry[4][0]) for entry in found}))
