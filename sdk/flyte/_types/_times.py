"""Texts of dates, times and durations: written in one form, read in the forms people write."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from flyte._types._canonical import TAG
from flyte._types._mismatch import Mismatch

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_CLOCK = r"\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:[Zz]|[+-]\d{2}:?\d{2}(?::\d{2}(?:\.\d+)?)?)?"
_TIME = re.compile(_CLOCK, re.ASCII)
_DATETIME = re.compile(rf"\d{{4}}-\d{{2}}-\d{{2}}(?:[Tt ]{_CLOCK})?", re.ASCII)
_FRACTION = re.compile(r"([.,])(\d+)")
_OFFSET = re.compile(r"([+-]\d{2})(\d{2})$")
_ISO = re.compile(
    r"(?P<sign>[+-]?)P(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)(?:[.,](?P<fraction>\d{1,6}))?S)?)?"
)
_SHORT = re.compile(
    r"(\d+(?:\.\d+)?)\s*(?:(ms|us)|(w)(?:eeks?)?|(d)(?:ays?)?|(h)(?:(?:ou)?rs?)?|(m)(?:in(?:ute)?s?)?"
    r"|(s)(?:ec(?:ond)?s?)?)(?![a-z])",
    re.ASCII,
)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?", re.ASCII)
_MICROSECONDS = {"us": 1, "ms": 1000, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6}
_MICROSECONDS |= {"d": 24 * _MICROSECONDS["h"], "w": 7 * 24 * _MICROSECONDS["h"]}
_FIELDS = {"weeks": "w", "days": "d", "hours": "h", "minutes": "m", "seconds": "s"}


def date_from_text(text: str) -> date:
    """The date of ``YYYY-MM-DD``, and of nothing else, so that a datetime is never taken for one."""
    if not _DATE.fullmatch(text):
        raise ValueError("write YYYY-MM-DD")
    return date.fromisoformat(text)


def _stdlib_form(text: str) -> str:
    """ISO text as Python 3.10 reads it: six digits of fraction, a colon in the offset, no Z."""
    text = _FRACTION.sub(lambda match: "." + match[2][:6].ljust(6, "0"), text, count=1)
    text = text[:-1] + "+00:00" if text[-1] in "Zz" else text
    return _OFFSET.sub(r"\1:\2", text) if ":" in text else text


def datetime_from_text(text: str) -> datetime:
    """The datetime of an ISO 8601 text, with or without an offset, the same for every Python."""
    if not _DATETIME.fullmatch(text):
        raise ValueError("write YYYY-MM-DDTHH:MM:SS")
    return datetime.fromisoformat(_stdlib_form(text))


def time_from_text(text: str) -> time:
    """The time of an ISO 8601 text, with or without an offset."""
    if not _TIME.fullmatch(text):
        raise ValueError("write HH:MM:SS")
    return time.fromisoformat(_stdlib_form(text))


def moment_to_json(value: datetime | time) -> Any:
    """ISO text of a datetime or time; a tag for a named time zone or the second of two equal hours."""
    zone = value.tzinfo
    named = zone.key if isinstance(zone, ZoneInfo) else None
    if not named and not value.fold:
        return value.isoformat()
    text = value.replace(tzinfo=None).isoformat() if named else value.isoformat()
    return {TAG: "moment", "value": text, "zone": named, "fold": value.fold}


def moment_from_tag(obj: dict[str, Any]) -> datetime | time:
    """The datetime or time that :func:`moment_to_json` tagged."""
    try:
        text = str(obj["value"])
        value: datetime | time = datetime_from_text(text) if "T" in text else time_from_text(text)
        value = value.replace(fold=int(obj.get("fold") or 0))
        return value.replace(tzinfo=ZoneInfo(obj["zone"])) if obj.get("zone") else value
    except (KeyError, ValueError, TypeError) as error:
        raise Mismatch("datetime with a time zone", obj, str(error)) from None


def duration_to_text(value: timedelta) -> str:
    """ISO 8601 duration in days, hours, minutes and seconds, exact to the microsecond."""
    total = (value.days * 86400 + value.seconds) * 10**6 + value.microseconds
    sign, total = ("-", -total) if total < 0 else ("", total)
    seconds, fraction = divmod(total, 10**6)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    last = f"{seconds}.{fraction:06d}".rstrip("0") if fraction else str(seconds) if seconds else ""
    clock = (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes else "") + (f"{last}S" if last else "")
    text = (f"{days}D" if days else "") + (f"T{clock}" if clock else "")
    return f"{sign}P{text}" if text else "PT0S"


def duration_from_text(text: str) -> timedelta:
    """The duration of an ISO 8601 text such as ``P1DT2H`` or ``-PT0.5S``."""
    match = _ISO.fullmatch(text)
    if not match or text[-1] in "PT":
        raise ValueError("write an ISO 8601 duration such as PT1H30M")
    total = sum(int(match[field] or 0) * _MICROSECONDS[unit] for field, unit in _FIELDS.items())
    total += int((match["fraction"] or "").ljust(6, "0"))
    return timedelta(microseconds=-total if match["sign"] == "-" else total)


def duration_from_argument(text: str) -> timedelta:
    """The duration that a person writes: ISO 8601, ``1h30m``, ``90s``, ``2 days``, or plain seconds."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return timedelta(seconds=float(text))
    compact = text.lower()
    parts = _SHORT.findall(compact)
    if parts and not _SHORT.sub("", compact).strip():
        return timedelta(
            microseconds=sum(float(amount) * _MICROSECONDS["".join(unit)] for amount, *unit in parts)
        )
    return duration_from_text(text.upper())
