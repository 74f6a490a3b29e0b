"""The configuration of the SDK: ``config.yaml`` and ``FLYTE_<SECTION>_<KEY>`` variables."""

from flyte.config._load import auto, load
from flyte.config._model import AdminConfig, Config, ImageConfig, LocalConfig, TaskConfig
from flyte.config._search import find_file

__all__ = ["AdminConfig", "Config", "ImageConfig", "LocalConfig", "TaskConfig", "auto", "find_file", "load"]
