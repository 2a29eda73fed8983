"""Summaries that are too long for a conversation: cut in the event, whole in the ledger."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Joins what stands beside it into one character: ZERO WIDTH JOINER.
_JOINER = "\u200d"


def capped(event: dict[str, Any], max_summary: int | None, max_total: int | None) -> dict[str, Any]:
    """An event whose summaries have at most ``max_summary`` characters each, ``max_total`` in all.

    The event itself if nothing is to be cut, else a copy. A summary that was cut ends with a line
    that says so, beyond its characters, and where the whole is. Of a batch, short summaries stay
    whole: what they leave goes to the long ones.
    """
    places = _summaries(event)
    lengths = [len(holder["summary"]) for holder in places]
    limits = _shares(lengths, max_summary, max_total)
    if all(length <= limit for length, limit in zip(lengths, limits, strict=True)):
        return event
    delegation_id = event.get("delegation_id")
    cut = [
        {**holder, "summary": _cut(holder["summary"], limit, delegation_id)}
        for holder, limit in zip(places, limits, strict=True)
    ]
    if places[0] is event:
        return cut[0]
    shorter = {id(holder): copy for holder, copy in zip(places, cut, strict=True)}
    results = [shorter.get(id(result), result) for result in event["results"]]
    return {**event, "results": results}


def _summaries(event: dict[str, Any]) -> list[dict[str, Any]]:
    """The dicts that have a summary: the event, or each result of a batch."""
    if isinstance(event.get("summary"), str):
        return [event]
    results = event.get("results")
    if not isinstance(results, list):
        return []
    return [
        result
        for result in results
        if isinstance(result, dict) and isinstance(result.get("summary"), str)
    ]


def _shares(lengths: list[int], max_summary: int | None, max_total: int | None) -> list[int]:
    limits = [length if max_summary is None else min(length, max_summary) for length in lengths]
    if max_total is None or sum(limits) <= max_total:
        return limits
    # The shortest first: each takes what it needs of an equal share of what is left.
    left = max_total
    for count, place in enumerate(sorted(range(len(limits)), key=limits.__getitem__)):
        limits[place] = min(limits[place], left // (len(limits) - count))
        left -= limits[place]
    return limits


def _cut(text: str, limit: int, delegation_id: object) -> str:
    if len(text) <= limit:
        return text
    end = boundary(text, limit)
    return (
        f"{text[:end]}\n[{len(text) - end:,} of {len(text):,} characters are cut here; "
        f"the whole text: hermes-core show {delegation_id}]"
    )


def boundary(text: str, end: int) -> int:
    """The last place up to ``end`` that splits no character as people see it."""
    while 0 < end < len(text) and _joins(text, end):
        end -= 1
    return end


def _joins(text: str, place: int) -> bool:
    """Whether the code points on both sides of a place belong together."""
    import unicodedata

    before, after = text[place - 1], text[place]
    if _JOINER in (before, after) or (before, after) == ("\r", "\n"):
        return True
    if unicodedata.category(after) in ("Mn", "Me", "Mc") or "\U0001f3fb" <= after <= "\U0001f3ff":
        # A mark, a variation selector, a skin tone.
        return True
    if _is_regional(before) and _is_regional(after):
        # A flag is two of them.
        start = place
        while start and _is_regional(text[start - 1]):
            start -= 1
        return (place - start) % 2 == 1
    return "\U000e0020" <= after <= "\U000e007f"


def _is_regional(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"
