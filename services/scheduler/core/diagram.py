"""Draws the transition table as the page `docs/run-lifecycle.md`.

Run `python -m services.scheduler.core.diagram > docs/run-lifecycle.md` after a change of the table; a test compares.
"""

from __future__ import annotations

import sys
from collections import defaultdict

from .model import INITIAL_STATE, PHASE_OF, TERMINAL_STATES, State
from .retry import MAX_BACKOFF, SYSTEM_CAPS
from .transitions import TRANSITIONS, Trigger

HEADER = """\
# Life of an action

Generated from `services/scheduler/core/transitions.py`; do not edit.

A move that is not drawn is illegal, and terminal states are final. `PARKED` is known to the scheduler and the executor
only: an action that waits for its children keeps its memory and GPUs and gives its processor time or pool slot back.
Only tasks are leased. Traces run in the worker of their parent; conditions and sleeps wait in the ledger.

```mermaid
stateDiagram-v2
"""


def render() -> str:
    """The page as Markdown."""
    edges: dict[tuple[State, State], list[Trigger]] = defaultdict(list)
    for (before, trigger), after in TRANSITIONS.items():
        edges[before, after].append(trigger)
    lines = [HEADER.rstrip("\n")]
    for first in dict.fromkeys(INITIAL_STATE.values()):
        kinds = ", ".join(kind.value for kind, state in INITIAL_STATE.items() if state is first)
        lines.append(f"    [*] --> {first.name}: {kinds}")
    order = list(State)
    for before, after in sorted(edges, key=lambda edge: (order.index(edge[0]), order.index(edge[1]))):
        words = ", ".join(trigger.value for trigger in edges[before, after])
        lines.append(f"    {before.name} --> {after.name}: {words}")
    lines += [f"    {state.name} --> [*]" for state in State if state in TERMINAL_STATES]
    lines += ["```", "", "| state | phase that people see |", "|---|---|"]
    lines += [f"| `{state.name}` | `{PHASE_OF[state].name}` |" for state in State]
    lines += [
        "",
        "A queued action that nothing can take now is shown as `WAITING_FOR_RESOURCES`, with the reason per host.",
        "",
        "## Retries",
        "",
        "`USER`, `OOM`, `GPU_OOM` and `TIMEOUT` use up the retries of the task, without a wait. `IMAGE` is final.",
    ]
    caps = ", ".join(f"`{kind.name}` {cap}" for kind, cap in SYSTEM_CAPS.items())
    lines.append(
        f"The others use none; they are capped ({caps} in a row) and, but for pre-emption and a first loss, "
        f"backed off: 1 s, 2 s, 4 s … up to {MAX_BACKOFF // 1_000_000} s."
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())
