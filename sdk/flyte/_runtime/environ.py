"""Environment variables of leases in a process that serves many."""

from __future__ import annotations

import os
from collections.abc import Mapping


class EnvironOverlay:
    """Sets the variables of leases in `os.environ` and takes them back.

    A process has one environment: when leases overlap, the one that came last wins until it ends.
    """

    def __init__(self) -> None:
        self._base: dict[str, str | None] = {}
        self._layers: dict[int, Mapping[str, str]] = {}

    def push(self, lease: int, variables: Mapping[str, str]) -> None:
        """Sets the variables of a lease.

        Raises:
            ValueError: The system does not know such a variable; those set before it are taken back by `pop`.
        """
        self._layers[lease] = variables
        for name in variables:
            self._base.setdefault(name, os.environ.get(name))
        for name, value in variables.items():
            os.environ[name] = value

    def pop(self, lease: int) -> None:
        """Takes the variables of a lease back: each gets what the remaining leases, or nobody, set."""
        for name in self._layers.pop(lease, {}):
            value = self._base[name]
            for layer in self._layers.values():
                value = layer.get(name, value)
            if value is None:
                os.environ.pop(name, None)
            elif os.environ.get(name) != value:
                os.environ[name] = value
        if not self._layers:
            self._base.clear()
