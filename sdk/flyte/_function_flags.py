"""Flags of the code of functions, as in `inspect`, whose import is spared here."""

VARARGS = 0x04
VARKEYWORDS = 0x08
GENERATOR = 0x20
COROUTINE = 0x80
ASYNC_GENERATOR = 0x200
