"""Rules for task containers: what they say, and in which order."""

from ipaddress import IPv4Address, IPv4Network, ip_address

import pytest

from services.common.errors import FailedPrecondition, Unavailable
from services.executor.engines.docker.firewall import (
    NO_DOCKER_CHAIN,
    NO_RIGHT,
    NO_TOOL,
    ChainRules,
    Firewall,
    apply_script,
    name_servers,
    parse_ranges,
    remove_script,
)
from services.executor.engines.docker.shells import Finished

RULES = ChainRules(
    prefix="hgr-ab12",
    platform=parse_ranges(["203.0.113.9", "10.211.78.7"]),
    allow=parse_ranges(["10.211.78.0/24"]),
    resolvers=(IPv4Address("10.0.0.53"),),
)


def verdict(rules: ChainRules, chain: str, to: str, protocol: str = "tcp", port: int = 443) -> str:
    """What the chain does with the first packet of a connection, by the rules as they are written."""
    for line in rules.lines():
        words = line.split()
        if words[:2] != ["-A", chain] or "--ctstate" in words:
            continue
        options = dict(zip(words[2::2], words[3::2], strict=True))
        if "-d" in options and ip_address(to) not in IPv4Network(options["-d"]):
            continue
        if options.get("-p", protocol) != protocol or options.get("--dport", str(port)) != str(port):
            continue
        return options["-j"]
    return "RETURN"


@pytest.mark.parametrize(
    ("to", "protocol", "port", "expected"),
    [
        ("198.51.100.7", "tcp", 443, "RETURN"),  # outside
        ("203.0.113.9", "tcp", 8090, "REJECT"),  # the platform, at a public address
        ("203.0.113.9", "tcp", 53, "REJECT"),
        ("10.211.78.7", "tcp", 8090, "REJECT"),  # the platform, inside a range that is opened
        ("10.211.78.8", "tcp", 5432, "RETURN"),  # opened
        ("10.211.79.8", "tcp", 5432, "REJECT"),
        ("10.0.0.53", "udp", 53, "RETURN"),  # the name server
        ("10.0.0.53", "tcp", 53, "RETURN"),
        ("10.0.0.53", "tcp", 80, "REJECT"),
        ("10.0.0.54", "udp", 53, "REJECT"),
        ("172.16.0.1", "tcp", 80, "REJECT"),
        ("172.31.255.255", "tcp", 80, "REJECT"),
        ("172.32.0.1", "tcp", 80, "RETURN"),
        ("192.168.1.1", "udp", 80, "REJECT"),
        ("100.64.0.1", "tcp", 80, "REJECT"),
        ("169.254.169.254", "tcp", 80, "REJECT"),
        ("224.0.0.1", "udp", 80, "REJECT"),
        ("255.255.255.255", "udp", 67, "REJECT"),
        ("127.0.0.1", "tcp", 80, "REJECT"),
        ("0.0.0.0", "tcp", 80, "REJECT"),
    ],
)
def test_first_packet(to: str, protocol: str, port: int, expected: str) -> None:
    """The rules for what the host passes on decide by address, and by port for name servers only."""
    assert verdict(RULES, RULES.tasks_chain, to, protocol, port) == expected


def test_everything_opened_is_not_everything() -> None:
    """An operator who opens all ranges opens neither the platform nor the metadata services."""
    rules = ChainRules("hgr-ab12", platform=parse_ranges(["10.1.2.3"]), allow=parse_ranges(["0.0.0.0/0"]))
    closed = ["10.1.2.3", "169.254.169.254", "127.0.0.1"]
    assert [verdict(rules, rules.tasks_chain, to) for to in closed] == ["REJECT"] * 3
    assert verdict(rules, rules.tasks_chain, "10.1.2.4") == "RETURN"
    assert verdict(rules, rules.host_chain, "10.1.2.4") == "REJECT"


def test_host_is_closed() -> None:
    """Of the host itself nothing is reachable but a name server that it may be."""
    assert verdict(RULES, RULES.host_chain, "198.51.100.7", "tcp", 22) == "REJECT"
    assert verdict(RULES, RULES.host_chain, "10.211.78.8", "tcp", 8090) == "REJECT"
    assert verdict(RULES, RULES.host_chain, "10.0.0.53", "udp", 53) == "RETURN"


def test_only_bridges_of_the_executor() -> None:
    """What leads into the chains names the executor's own bridges, and its chains are its own."""
    other = ChainRules("hgr-cd34")
    assert {RULES.tasks_chain, RULES.host_chain}.isdisjoint({other.tasks_chain, other.host_chain})
    for script in (apply_script(RULES), remove_script(RULES)):
        jumps = [line for line in script.splitlines() if " -j HANGAR" in line or " -j DROP" in line]
        assert len(jumps) == 4
        assert all(" -i hgr-ab12+ " in line for line in jumps)


def test_chains_are_filled_before_they_are_used() -> None:
    """The script fills the chains in one step, and then lets packets into them."""
    script = apply_script(RULES)
    assert script.index("COMMIT") < script.index("-I DOCKER-USER")
    assert script.count("-restore") == 1
    assert len(RULES.tasks_chain) < 29


class ShellFake:
    """Ends every script in one way."""

    def __init__(self, code: int, output: str = "") -> None:
        self._finished = Finished(code, output)

    async def run(self, script: str) -> Finished:
        """Ends."""
        return self._finished


@pytest.mark.parametrize(
    ("code", "words"),
    [(NO_TOOL, "install it"), (NO_RIGHT, "CAP_NET_ADMIN"), (NO_DOCKER_CHAIN, "chain DOCKER-USER")],
)
async def test_what_is_missing_is_said(code: int, words: str) -> None:
    """A host whose filter cannot be written says what is missing, and what works without."""
    with pytest.raises(FailedPrecondition, match=words) as caught:
        await Firewall(ShellFake(code)).apply(RULES)
    assert "HANGAR_EXECUTOR_NETWORK=none" in caught.value.message
    await Firewall(ShellFake(code)).remove(RULES)


async def test_other_failures_are_passed_on() -> None:
    """A script that fails for another reason says what iptables said."""
    with pytest.raises(Unavailable, match="no such target"):
        await Firewall(ShellFake(2, "iptables: no such target\n")).apply(RULES)
    with pytest.raises(Unavailable, match="busy"):
        await Firewall(ShellFake(4, "busy")).remove(RULES)


def test_name_servers() -> None:
    """Name servers on loopback are asked from the host's own namespace and need no rule."""
    text = (
        "# made by x\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nsearch x\nnameserver fe80::1%eth0\n"
        "nameserver 10.0.0.2\nnameserver 8.8.8.8\nnameserver\nnameserver no\n"
    )
    assert name_servers(text) == (IPv4Address("10.0.0.2"), IPv4Address("8.8.8.8"))


@pytest.mark.parametrize("text", ["10.0.0.1/8", "fd00::/8", "all", "10.0.0.0/33", ""])
def test_ranges_that_are_none(text: str) -> None:
    """What is not an IPv4 range is refused by name."""
    with pytest.raises(ValueError, match="write IPv4 ranges"):
        parse_ranges([text])
