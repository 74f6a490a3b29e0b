"""Which node takes a worker: a function of the request and the nodes."""

from __future__ import annotations

from collections.abc import Iterable

from .model import Demand, NodeState, Placement, Resources
from .nodes import Node

GIB = 1 << 30


def choose(
    demand: Demand, nodes: Iterable[Node], preferred: frozenset[str] = frozenset(), image: str = ""
) -> Node | None:
    """The best ready node that may take what is wanted and fits it, None when there is none.

    Keeps CPU work off GPU hosts and what may be interrupted off regular ones, prefers the `preferred` nodes (those that
    have the environment warm), then those that have the image, and bin-packs over the dominant resource; ties are
    broken by name, so that equal states give equal plans.
    """
    wanted, placement = demand
    best: Node | None = None
    best_score: tuple[bool, bool, bool, bool, float, str] | None = None
    for node in nodes:
        if node.state is not NodeState.READY or node.session is None:
            continue
        if not node.admits(placement) or not node.fits(wanted):
            continue
        wasted_gpus = bool(node.inventory.gpus) and not wanted.gpu_count
        wasted_regular = placement.interruptible and not node.inventory.interruptible
        fullness = -_fullness(node, wanted)
        is_cold, lacks_image = node.name not in preferred, image not in node.images
        score = (wasted_gpus, wasted_regular, is_cold, lacks_image, fullness, node.name)
        if best_score is None or score < best_score:
            best, best_score = node, score
    return best


def _fullness(node: Node, wanted: Resources) -> float:
    """Share of the node's dominant resource that is booked once `wanted` is."""
    have = node.inventory
    cpu = (have.cpu - node.free_cpu + wanted.cpu) / have.cpu if have.cpu else 1.0
    memory = (have.memory - node.free_memory + wanted.memory) / have.memory if have.memory else 1.0
    return max(cpu, memory)


def explain_wait(demand: Demand, nodes: Iterable[Node]) -> str:
    """Why no node takes what is wanted right now, per host."""
    wanted, placement = demand
    reasons = []
    for node in sorted(nodes, key=lambda node: node.name):
        if not node.admits(placement):
            reasons.append(f"{node.name}: {_unfit(node, placement)}")
        elif node.state is not NodeState.READY or node.session is None:
            reasons.append(f"{node.name}: {node.state.value}")
        elif not node.fits(wanted):
            reasons.append(f"{node.name}: {', '.join(_shortages(node, wanted))}")
    return "; ".join(reasons) if reasons else "no host is connected"


def _unfit(node: Node, placement: Placement) -> str:
    if placement.queue not in node.inventory.queues:
        return f"serves {describe_queues(node.inventory.queues)}, not {placement.queue}"
    return "may be taken away, and the action is not interruptible"


def describe_queues(queues: Iterable[str]) -> str:
    """Queues in words."""
    names = sorted(set(queues))
    return f"queue{'s' if len(names) > 1 else ''} {', '.join(names)}"


def explain_refusal(placement: Placement, nodes: Iterable[Node]) -> str:
    """Why no host may ever take what is placed so; some of `nodes` must serve another queue or be interruptible."""
    known = list(nodes)
    serving = [node for node in known if placement.queue in node.inventory.queues]
    if not serving:
        queues = describe_queues(queue for node in known for queue in node.inventory.queues)
        return (
            f"is for queue {placement.queue}, which no host serves; the hosts serve {queues}. "
            f"Name one of these, or start an executor with HANGAR_EXECUTOR_QUEUES={placement.queue}"
        )
    return (
        f"is not interruptible, and every host of queue {placement.queue} may be taken away. "
        "Set interruptible=True, or add a host of regular capacity"
    )


def _shortages(node: Node, wanted: Resources) -> list[str]:
    short = []
    if wanted.container and not node.inventory.runs_containers:
        return [f"needs a host with the Docker engine, and has the {node.inventory.engine} engine"]
    if not node.inventory.suits(wanted):
        return [f"is {node.inventory.platform}, and the image is for {describe_platforms(wanted)}"]
    if wanted.cpu > node.free_cpu:
        short.append(f"needs {wanted.cpu / 1000:g} cores, {max(node.free_cpu, 0) / 1000:g} free")
    if wanted.memory > node.free_memory:
        short.append(f"needs {wanted.memory / GIB:.3g} GiB memory, {max(node.free_memory, 0) / GIB:.3g} free")
    if wanted.disk > node.free_disk:
        short.append(f"needs {wanted.disk / GIB:.3g} GiB disk, {max(node.free_disk, 0) / GIB:.3g} free")
    matching = sum(1 for gpu in node.free_gpus.values() if wanted.gpu_model in ("", gpu.model))
    if wanted.gpu_count > matching:
        short.append(f"needs {describe_gpus(wanted)}, {matching} free")
    return short


def describe_gpus(wanted: Resources) -> str:
    """The GPUs of a request in words."""
    return f"{wanted.gpu_count} {wanted.gpu_model or 'GPU'}{'s' if wanted.gpu_count > 1 else ''}"


def describe(wanted: Resources) -> str:
    """A request in words."""
    parts = [f"{wanted.cpu / 1000:g} cores", f"{wanted.memory / GIB:.3g} GiB memory"]
    if wanted.disk:
        parts.append(f"{wanted.disk / GIB:.3g} GiB disk")
    if wanted.gpu_count:
        parts.append(describe_gpus(wanted))
    return ", ".join(parts)


def describe_platforms(wanted: Resources) -> str:
    """The platforms of a request in words."""
    return " or ".join(wanted.platforms)


def describe_hosts(nodes: Iterable[Node]) -> str:
    """The hosts and their platforms, in words."""
    ordered = sorted(nodes, key=lambda node: node.name)
    return ", ".join(f"{node.name} ({node.inventory.platform or 'unknown'})" for node in ordered)


def describe_engines(nodes: Iterable[Node]) -> str:
    """The hosts and their engines, in words."""
    return ", ".join(
        f"{node.name} ({node.inventory.engine} engine)" for node in sorted(nodes, key=lambda node: node.name)
    )


def describe_largest(nodes: Iterable[Node]) -> str:
    """The host with most processor time and memory, in words."""
    largest = max(nodes, key=lambda node: (node.inventory.cpu, node.inventory.memory, node.name))
    have = largest.inventory
    gpus = ", ".join(sorted({gpu.model for gpu in have.gpus if gpu.healthy})) or "none"
    size = f"{have.cpu / 1000:g} cores, {have.memory / GIB:.3g} GiB memory"
    return f"{largest.name} with {size}, {len(have.gpus)} GPUs ({gpus})"
