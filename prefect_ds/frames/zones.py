"""A time zone as JSON, and back: those of pytz, pendulum, dateutil and ``datetime``.

The zones of ``zoneinfo``, UTC of ``datetime`` and its fixed offsets without a name of
their own need none of this: pandas finds them by the name of the dtype.
"""

import datetime
import importlib
import zoneinfo
from typing import Any

import pandas as pd

from prefect_ds.frames.base import JSONObject, UnkeepableError

_ADVICE = "convert it first, as by .dt.tz_convert('UTC')"


def zone_library(dtype: pd.DatetimeTZDtype) -> str:
    """Return the library that a dtype's time zone is of; empty for Python's own.

    pandas takes zones of one name to be equal, whatever library they are of.
    """
    library = type(dtype.tz).__module__.partition(".")[0]
    if library in ("zoneinfo", "datetime"):
        return ""
    return library


def zone_to_json(zone: datetime.tzinfo) -> JSONObject | None:
    """Return a time zone as JSON; ``None`` where its name in a dtype gives it back.

    Examples
    --------
    >>> zone_to_json(zoneinfo.ZoneInfo("Europe/Paris"))
    >>> zone_to_json(datetime.timezone(datetime.timedelta(hours=1), "CET"))
    {'library': 'datetime', 'name': 'CET', 'seconds': 3600.0}

    Raises
    ------
    UnkeepableError
        No name gives the zone back.
    """
    library = type(zone).__module__.partition(".")[0]
    # pandas reads both names, also that of dateutil's local zone.
    if type(zone) is zoneinfo.ZoneInfo or repr(zone) == "tzlocal()":
        return None
    spec: JSONObject = {"library": library, "name": _name(zone, library)}
    if _is_fixed(zone, library):
        offset = zone.utcoffset(None)
        assert offset is not None
        spec["seconds"] = offset.total_seconds()
        # pandas parses hours and minutes, as in UTC+01:00.
        is_plain = spec["name"] is None and spec["seconds"] % 60 == 0
        if library == "datetime" and is_plain:
            return None
    # Proved now, while the zone itself is here to be compared with.
    try:
        is_same = _description(zone_from_json(spec)) == _description(zone)
    except Exception:  # noqa: BLE001 - whatever a library raises, it has no such zone
        is_same = False
    if not is_same:
        raise UnkeepableError(
            f"its time zone {zone!r} has no name that gives it back; {_ADVICE}"
        )
    return spec


def zone_from_json(spec: JSONObject) -> datetime.tzinfo:
    """Return the time zone that `zone_to_json` turned into this."""
    # Imported by name: none of these libraries need be installed.
    library: str = spec["library"]
    name: Any = spec["name"]
    seconds: Any = spec.get("seconds")
    zone: datetime.tzinfo
    if library == "datetime":
        offset = datetime.timedelta(seconds=seconds)
        zone = datetime.timezone(offset)
        if name is not None:
            zone = datetime.timezone(offset, name)
    elif library == "pytz":
        zone = importlib.import_module("pytz").FixedOffset(int(seconds) // 60)
    elif library == "pendulum":
        zones = importlib.import_module("pendulum.tz.timezone")
        if seconds is None:
            zone = zones.Timezone(name)
        else:
            zone = zones.FixedTimezone(int(seconds), name)
    elif library == "dateutil":
        zones = importlib.import_module("dateutil.tz")
        if name == "UTC" and seconds is None:
            zone = zones.UTC
        elif seconds is None:
            zone = zones.gettz(name)
        else:
            zone = zones.tzoffset(name, seconds)
    else:
        raise ValueError(f"no library {library!r} of time zones is known")
    return zone


def _is_fixed(zone: Any, library: str) -> bool:
    """Return whether a zone is one offset for ever, other than the UTC of a library."""
    kind = type(zone).__name__
    return (library, kind) in {
        ("datetime", "timezone"),
        ("pytz", "_FixedOffset"),
        ("pendulum", "FixedTimezone"),
        ("dateutil", "tzoffset"),
    }


def _name(zone: Any, library: str) -> str | None:
    if library == "pendulum":
        return str(zone.name)
    if library == "datetime":
        offset = zone.utcoffset(None)
        # Without a name, tzname gives one that is made of the offset.
        if repr(zone) == repr(datetime.timezone(offset)):
            return None
        return zone.tzname(None)  # type: ignore[no-any-return]
    if library == "dateutil":
        kind = type(zone).__name__
        if kind == "tzutc":
            return "UTC"
        if kind == "tzoffset":
            name: str | None = zone.tzname(None)
            return name
        # Shown as tzfile('/usr/share/zoneinfo/Europe/Paris').
        return repr(zone).partition("zoneinfo/")[2].rstrip("')") or None
    return None


def _description(zone: datetime.tzinfo) -> tuple[type, str]:
    # Not `==`: to `datetime` and dateutil, zones of other names may be equal.
    return type(zone), repr(zone)
