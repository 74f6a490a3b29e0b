"""Chooses the engine that the settings name."""

from services.executor.engines.base import Engine
from services.executor.engines.fake import FakeEngine
from services.executor.engines.process import ProcessEngine, ProcessEngineOptions
from services.executor.settings import Settings


def make_engine(settings: Settings) -> Engine:
    """Returns the engine of an executor."""
    if settings.engine == "fake":
        return FakeEngine()
    return ProcessEngine(ProcessEngineOptions(settings.state_dir.absolute(), orphan_ttl=settings.orphan_ttl))
