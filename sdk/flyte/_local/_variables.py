"""Environment variables of local actions, laid over those of the process while they run."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_lock = threading.Lock()
_layers: list[Mapping[str, str]] = []
_originals: dict[str, str | None] = {}


@contextmanager
def variables(layer: Mapping[str, str]) -> Iterator[None]:
    """Set the variables inside. Of several layers the last one wins; afterwards all is as before."""
    with _lock:
        _layers.append(layer)
        for name in layer:
            if name not in _originals:
                _originals[name] = os.environ.get(name)
    try:
        with _lock:
            _apply(layer)
        yield
    finally:
        with _lock:
            _layers[:] = [other for other in _layers if other is not layer]
            _apply(layer)


def current_variables() -> dict[str, str]:
    """The variables that are set now."""
    with _lock:
        return {name: value for layer in _layers for name, value in layer.items()}


def _apply(names: Mapping[str, str]) -> None:
    for name in names:
        setters = [layer[name] for layer in _layers if name in layer]
        value = setters[-1] if setters else _originals.pop(name, None)
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
