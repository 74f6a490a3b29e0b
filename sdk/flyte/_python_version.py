"""Python versions of images."""

from __future__ import annotations

import re
import sys

PythonVersion = tuple[int, ...] | str

_OLDEST_PYTHON = (3, 10)


def python_text(version: PythonVersion | None) -> str:
    """A Python version as text, such as "3.12"; None is the running one.

    Raises:
        ValueError: It cannot be read, or is older than what the SDK needs.
    """
    if version is None:
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        numbers = tuple(int(part) for part in (version.split(".") if isinstance(version, str) else version))
    except (TypeError, ValueError):
        numbers = ()
    if not 2 <= len(numbers) <= 3 or numbers[0] > 3:
        raise ValueError(f'python_version={version!r} cannot be read: write (3, 12) or "3.12"')
    if numbers < _OLDEST_PYTHON:
        raise ValueError(f"python_version={version!r} is too old: the SDK needs Python 3.10 or later")
    return ".".join(map(str, numbers))


def allowed_python(script: str, required: str, wanted: str | None = None) -> str:
    """The Python version of a script: the wanted one, the running one if it is allowed, or what its header names.

    Args:
        script: Name of the script.
        required: Its `requires-python`.
        wanted: The version that the author chose.

    Raises:
        ValueError: The wanted version is not allowed, or the header names none.
    """
    running = wanted or python_text(None)
    clauses = re.findall(r"(===|==|~=|>=|<=|!=|<|>)\s*(\d+(?:\.\d+)*)(\.\*)?", required)
    if not clauses:
        raise ValueError(f"image: {script}: requires-python {required!r} cannot be read")
    current = tuple(map(int, running.split(".")[:2]))
    named = [tuple(map(int, number.split(".")))[:2] for _, number, _ in clauses]
    checks = {
        "==": lambda wanted: current == wanted,
        "===": lambda wanted: current == wanted,
        "~=": lambda wanted: current >= wanted and current[0] == wanted[0],
        ">=": lambda wanted: current >= wanted,
        "<=": lambda wanted: current <= wanted,
        ">": lambda wanted: current > wanted,
        "<": lambda wanted: current < wanted,
        "!=": lambda wanted: current != wanted,
    }
    if all(checks[operator](wanted) for (operator, _, _), wanted in zip(clauses, named, strict=True)):
        return running
    if wanted:
        raise ValueError(
            f"image: {script}: requires-python {required!r} excludes python_version={wanted!r}: choose another one"
        )
    lowest = next((number for operator, number, _ in clauses if operator in ("==", "===", "~=", ">=")), None)
    if lowest is None:
        raise ValueError(
            f"image: {script}: requires-python {required!r} excludes {running}: pass python_version="
        )
    return python_text(".".join(lowest.split(".")[:2]))
