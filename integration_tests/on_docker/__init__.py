"""Tests of the other modules once more, with workers in containers of a real Docker engine.

Each module here names the tests of its twin that it repeats: those where a container may differ from a process. The
fixtures are the same but for the engine.
"""
