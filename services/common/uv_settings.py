"""Settings of `uv` that authors give for one layer: JSON data in, the text of a `[tool.uv]` table out."""

from __future__ import annotations

import json
import re
from typing import Any

_KEY = re.compile(r"[a-z][a-z0-9-]*")


def settings_text(settings: Any) -> str:
    """Returns settings as TOML; empty for none.

    Raises:
        ValueError: They are no settings. The message goes behind the name of the field.
    """
    if settings is None or settings == {}:
        return ""
    if not isinstance(settings, dict) or not all(_KEY.fullmatch(key) for key in settings):
        raise ValueError('it has to be an object with settings of uv, such as "index"')
    sources = settings.get("sources")
    if re.search(r'"(path|workspace)": ', json.dumps(sources)):
        raise ValueError("sources have a path or a workspace, which images have not")
    return "[tool.uv]\n" + "".join(f"{key} = {_value(value)}\n" for key, value in sorted(settings.items()))


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(key)} = {_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise ValueError("it has to hold text, numbers, lists and objects only")


def _text(value: str) -> str:
    """A text in quotes: JSON's are TOML's, but for characters beyond the basic plane."""
    return json.dumps(value, ensure_ascii=False)
