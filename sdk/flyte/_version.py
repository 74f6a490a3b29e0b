"""The version of the SDK: that of its distribution, written out because workers have the code only."""

__version__ = "0.1.0"
