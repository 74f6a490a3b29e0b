"""The open sessions of executors, one per node."""

from __future__ import annotations

import asyncio

from hangar.scheduler.v1.node_service_pb2 import NodeSessionResponse


class Session:
    """One stream of a node.

    Args:
        number: Identity of the session; later ones have greater numbers.
        node: Name of the node.
    """

    def __init__(self, number: int, node: str) -> None:
        self.number = number
        self.node = node
        self.is_welcomed = False
        """True once Welcome was put out: frames go behind it only."""
        self.sent_specs: set[str] = set()
        """Digests of the definitions that the executor has."""
        self._frames: asyncio.Queue[NodeSessionResponse | None] = asyncio.Queue()

    def send(self, frame: NodeSessionResponse) -> None:
        """Puts a frame out."""
        self._frames.put_nowait(frame)

    def close(self) -> None:
        """Ends the session behind what was put out."""
        self._frames.put_nowait(None)

    async def next_frame(self) -> NodeSessionResponse | None:
        """Returns the next frame to write, None when the session is closed."""
        return await self._frames.get()


class Sessions:
    """The newest session of every node."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._opened = 0

    def open(self, node: str) -> Session:
        """Opens a session. An older one of the node is closed."""
        self.close(self._sessions.get(node))
        self._opened += 1
        session = self._sessions[node] = Session(self._opened, node)
        return session

    def close(self, session: Session | None) -> None:
        """Closes a session."""
        if session is None:
            return
        if self._sessions.get(session.node) is session:
            del self._sessions[session.node]
        session.close()

    def close_all(self) -> None:
        """Closes every session."""
        for session in list(self._sessions.values()):
            self.close(session)

    def nodes(self) -> list[str]:
        """Returns the nodes that have one."""
        return list(self._sessions)

    def of(self, node: str) -> Session | None:
        """Returns the session of a node, None when it has none."""
        return self._sessions.get(node)
