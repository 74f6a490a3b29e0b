"""Rules in the host's filter for the bridges of task containers: which packets may leave, and how that gets there.

What may be reached is decided by `ChainRules`, which is pure. `Firewall` puts the rules into the filter of the host
that the engine runs on: by itself, or through a short-lived container with the host's network.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from services.common.errors import FailedPrecondition, Unavailable
from services.executor.engines.docker.shells import Shell

NEVER = tuple(map(IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")))
"""What no setting opens: the host's own, link-local with the metadata services of clouds, multicast, reserved."""
PRIVATE = tuple(
    map(
        IPv4Network,
        ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15"),
    )
)
"""What is closed unless a setting opens it."""

NO_TOOL, NO_RIGHT, NO_DOCKER_CHAIN = 10, 11, 12
_WITHOUT = "or set HANGAR_EXECUTOR_NETWORK=none, which works without (tasks then have no network)"
_MISSING = {
    NO_TOOL: f"there is no iptables command: install it, {_WITHOUT}",
    NO_RIGHT: f"iptables refuses this user: run the executor as root or with CAP_NET_ADMIN, {_WITHOUT}",
    NO_DOCKER_CHAIN: "the filter has no chain DOCKER-USER: the engine runs with iptables turned off, or uses "
    f"another kind of iptables than is installed here. Turn it on, {_WITHOUT}",
}
_REFUSE = "-j REJECT --reject-with icmp-admin-prohibited"


@dataclass(frozen=True, slots=True)
class ChainRules:
    """The rules for all bridges whose names begin alike.

    Attributes:
        prefix: Beginning of the bridges' names: those of one executor.
        platform: Addresses of the platform, never reachable.
        allow: Private ranges that the operator opens.
        resolvers: Name servers of the host; port 53 of them is reachable, since the engine's resolver asks them
            from inside the container's namespace.
    """

    prefix: str
    platform: tuple[IPv4Network, ...] = ()
    allow: tuple[IPv4Network, ...] = ()
    resolvers: tuple[IPv4Address, ...] = ()

    @property
    def tasks_chain(self) -> str:
        """Chain for packets that the host would pass on."""
        return f"HANGAR-TASKS-{self.prefix.removeprefix('hgr-')}"

    @property
    def host_chain(self) -> str:
        """Chain for packets to the host itself."""
        return f"HANGAR-HOST-{self.prefix.removeprefix('hgr-')}"

    def jumps(self) -> list[tuple[str, str]]:
        """Returns the chains that lead to ours, with the chain that each one leads to."""
        return [("DOCKER-USER", self.tasks_chain), ("INPUT", self.host_chain)]

    def lines(self) -> list[str]:
        """Returns what `iptables-restore --noflush` reads: both chains with their rules, and nothing else.

        The first rule that fits decides. RETURN leaves a packet to the rules of Docker and of the operator.
        """
        answers = ["-m conntrack --ctstate ESTABLISHED -j RETURN"]
        names = [
            f"-d {resolver}/32 -p {protocol} -m {protocol} --dport 53 -j RETURN"
            for resolver in self.resolvers
            for protocol in ("udp", "tcp")
        ]
        refused = [f"-d {network} {_REFUSE}" for network in (*self.platform, *NEVER)]
        opened = [f"-d {network} -j RETURN" for network in self.allow]
        private = [f"-d {network} {_REFUSE}" for network in PRIVATE]
        tasks = [*answers, *names, *refused, *opened, *private]
        host = [*answers, *names, _REFUSE]
        return [
            "*filter",
            f":{self.tasks_chain} - [0:0]",
            f":{self.host_chain} - [0:0]",
            *(f"-A {self.tasks_chain} {rule}" for rule in tasks),
            *(f"-A {self.host_chain} {rule}" for rule in host),
            "COMMIT",
        ]


_FIND = f"""set -u
found= code={NO_TOOL}
for tool in iptables iptables-nft iptables-legacy; do
  command -v "$tool" >/dev/null 2>&1 || continue
  if "$tool" -w 5 -n -L DOCKER-USER >/dev/null 2>&1; then found=$tool; break; fi
  if "$tool" -w 5 -n -L INPUT >/dev/null 2>&1; then code={NO_DOCKER_CHAIN}
  elif [ "$code" = {NO_TOOL} ]; then code={NO_RIGHT}; fi
done
[ -n "$found" ] || exit "$code"
found6=$(echo "$found" | sed s/iptables/ip6tables/)
if [ ! -e /proc/net/if_inet6 ] || ! "$found6" -w 5 -n -L INPUT >/dev/null 2>&1; then found6=; fi
"""


def apply_script(rules: ChainRules) -> str:
    """Returns a shell script that puts rules into the filter. Running it again changes nothing.

    The chains are filled in one step, so no packet ever meets a part of them, and before anything leads there.
    """
    script = [_FIND, "set -e", '"$found"-restore -w 5 --noflush <<END', *rules.lines(), "END"]
    for chain, target in rules.jumps():
        jump = f"{chain} -i {rules.prefix}+ -j {target}"
        script.append(f'"$found" -w 5 -C {jump} 2>/dev/null || "$found" -w 5 -I {jump}')
    for chain in ("INPUT", "FORWARD"):  # the bridges have no IPv6
        drop = f"{chain} -i {rules.prefix}+ -j DROP"
        script.append(f'[ -z "$found6" ] || "$found6" -w 5 -C {drop} 2>/dev/null || "$found6" -w 5 -I {drop}')
    return "\n".join(script) + "\n"


def remove_script(rules: ChainRules) -> str:
    """Returns a shell script that takes everything of the rules out of the filter."""
    script = [_FIND]
    for chain, target in rules.jumps():
        jump = f"{chain} -i {rules.prefix}+ -j {target}"
        script.append(f'while "$found" -w 5 -D {jump} 2>/dev/null; do :; done')
        script.append(
            f'"$found" -w 5 -F {target} 2>/dev/null && "$found" -w 5 -X {target} 2>/dev/null || true'
        )
    for chain in ("INPUT", "FORWARD"):
        drop = f"{chain} -i {rules.prefix}+ -j DROP"
        script.append(f'[ -z "$found6" ] || while "$found6" -w 5 -D {drop} 2>/dev/null; do :; done')
    return "\n".join([*script, "exit 0"]) + "\n"


class Firewall:
    """Keeps rules in the filter of the engine's host.

    Args:
        shell: Where the filter is.
    """

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    async def apply(self, rules: ChainRules) -> None:
        """Makes sure that the rules are there, as they are and once.

        Raises:
            FailedPrecondition: They cannot be written; the message says what is missing
                (reason ``FIREWALL_UNUSABLE``).
            Unavailable: iptables failed otherwise (reason ``FIREWALL_FAILED``).
        """
        done = await self._shell.run(apply_script(rules))
        if done.code in _MISSING:
            message = f"the network policy of tasks cannot be enforced: {_MISSING[done.code]}"
            raise FailedPrecondition(message, reason="FIREWALL_UNUSABLE")
        if done.code != 0:
            message = f"the network policy of tasks could not be written: {done.output.strip()[-500:]}"
            raise Unavailable(message, reason="FIREWALL_FAILED")

    async def remove(self, rules: ChainRules) -> None:
        """Takes the rules out of the filter. None there is no error."""
        done = await self._shell.run(remove_script(rules))
        if done.code not in {0, *_MISSING}:
            message = f"the network policy of tasks could not be removed: {done.output.strip()[-500:]}"
            raise Unavailable(message, reason="FIREWALL_FAILED")


def name_servers(resolv_conf: str) -> tuple[IPv4Address, ...]:
    """Returns the name servers of a `resolv.conf` that are reached over a network, not over loopback."""
    found: list[IPv4Address] = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        try:
            address = ipaddress.ip_address(words[1])
        except ValueError:
            continue
        if isinstance(address, IPv4Address) and not address.is_loopback and address not in found:
            found.append(address)
    return tuple(found)


def parse_ranges(texts: Iterable[str]) -> tuple[IPv4Network, ...]:
    """Returns the ranges that texts such as "10.20.0.0/16" or "10.20.0.5" stand for.

    Raises:
        ValueError: One is none; the message names it.
    """
    ranges: list[IPv4Network] = []
    for text in texts:
        try:
            ranges.append(IPv4Network(text))
        except ValueError as error:
            raise ValueError(f"write IPv4 ranges such as '10.20.0.0/16', not {text!r}: {error}") from None
    return tuple(ranges)
