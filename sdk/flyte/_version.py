"""The version of the SDK."""

from importlib.metadata import version

__version__ = version("hangar-sdk")
