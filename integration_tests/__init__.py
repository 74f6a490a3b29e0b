"""Tests of the whole product from outside: SDK, command line, real processes and real kills."""
