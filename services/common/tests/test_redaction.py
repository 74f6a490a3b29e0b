"""Secrets are hidden in every spelling that tools print them in."""

from __future__ import annotations

import json

from services.common.redaction import Redaction

KEY = 'first "line"\nsecond línea\nno\n'


def test_each_line_of_a_secret_is_hidden() -> None:
    """The whole, each line that is long enough to be one, and what JSON and addresses make of them."""
    redaction = Redaction().hiding([KEY.encode(), b" p@ss\n", b""])
    shown = [
        KEY,
        "a second línea b",
        json.dumps({"key": KEY.strip()}),
        "https://u:p%40ss@h",
        "none is no secret",
    ]
    assert [redaction.redact(text) for text in shown] == [
        "****\n",
        "a **** b",
        '{"key": "****"}',
        "https://u:****@h",
        "none is no secret",
    ]


def test_a_secret_within_another_leaves_nothing_of_it() -> None:
    """The longest goes first, whatever their order."""
    redaction = Redaction().hiding(["token", "token-of-the-other", "more token"])
    assert redaction.redact("token-of-the-other, more token, token") == "****, ****, ****"


def test_passwords_of_addresses_are_hidden() -> None:
    """As the address has them, and as a tool prints them that reads it."""
    redaction = Redaction().hiding_addresses("--index https://me:p%40ss%20word@x.example/simple")
    assert redaction.redact("p%40ss%20word or p@ss word") == "**** or ****"
