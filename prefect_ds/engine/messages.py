"""The sentence in a task's state that says why it ran: how it is made, and read."""

from __future__ import annotations

SUCCEEDED = "Task run succeeded."

_BECAUSE = " Ran because "
_WROTE = "; wrote "


def kept_message(message: str | None, reason: str, kept: str) -> str:
    """Return the message of a task whose result was kept.

    Parameters
    ----------
    message
        The state's message so far.
    reason
        Why the task ran.
    kept
        The size and the place of the checkpoint.
    """
    return f"{message or SUCCEEDED}{_BECAUSE}{reason}{_WROTE}{kept}"


def reason_in(message: str) -> str:
    """Return the reason in a state's message, or the message where it gives none.

    >>> reason_in(kept_message(None, "n 3 -> 4", "3 rows to n.csv"))
    'n 3 -> 4'
    >>> reason_in("Task run succeeded.")
    ''
    """
    _, because, rest = message.partition(_BECAUSE)
    if because and _WROTE in rest:
        return rest.partition(_WROTE)[0]
    return message.removeprefix(SUCCEEDED).strip()
