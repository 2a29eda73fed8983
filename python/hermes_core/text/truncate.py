"""Summaries that are too long for a conversation: cut in the event, whole in the ledger."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Joins what stands beside it into one character: ZERO WIDTH JOINER.
_JOINER = "\u200d"
#: Changes what stands before it, and is no mark: ZERO WIDTH NON-JOINER, the voicing marks of half
#: width, the vowel AM of Thai and Lao.
_EXTENDING = "\u200c\uff9e\uff9f\u0e33\u0eb3"


def truncated(
    event: dict[str, Any], max_summary: int | None, max_total: int | None
) -> dict[str, Any]:
    """An event whose summaries have at most ``max_summary`` characters each, ``max_total`` in all.

    The event itself if nothing is to be cut, else a copy. A summary that was cut ends with a line
    that says so, beyond its characters, and where the whole is. Of a batch, short summaries stay
    whole: what they leave goes to the long ones.
    """
    places = _summaries(event)
    texts = [str.__str__(dict.__getitem__(holder, "summary")) for holder in places]
    lengths = list(map(len, texts))
    limits = shares(lengths, max_summary, max_total)
    if all(length <= limit for length, limit in zip(lengths, limits, strict=True)):
        return event
    delegation_id = event.get("delegation_id")
    cut = [
        {**dict(list(dict.items(holder))), "summary": _cut(text, limit, delegation_id)}
        for holder, text, limit in zip(places, texts, limits, strict=True)
    ]
    if places[0] is event:
        return cut[0]
    shorter = iter(cut)
    results = [
        next(shorter) if _has_summary(result) else result for result in _results(event["results"])
    ]
    return {**event, "results": results}


def _summaries(event: dict[str, Any]) -> list[dict[str, Any]]:
    """The dicts that have a summary: the event, or each result of a batch."""
    if _has_summary(event):
        return [event]
    return [result for result in _results(event.get("results")) if _has_summary(result)]


def _results(results: Any) -> list[Any]:
    base = next((base for base in (list, tuple) if issubclass(type(results), base)), None)
    return [] if base is None else list(base.__iter__(results))


def _has_summary(holder: Any) -> bool:
    # By the types' own methods: a result is a runner's, and its code may raise.
    is_dict = issubclass(type(holder), dict)
    return is_dict and issubclass(type(dict.get(holder, "summary")), str)


def shares(lengths: list[int], max_each: int | None, max_total: int | None) -> list[int]:
    """What each of several lengths gets of a total; what short ones leave goes to long ones."""
    limits = [length if max_each is None else min(length, max_each) for length in lengths]
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
    if "\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff":
        # The halves of one character.
        return True
    # Tags, which spell a flag's name; the later letters of a Korean syllable.
    if "\U000e0020" <= after <= "\U000e007f" or "\u1160" <= after <= "\u11ff":
        return True
    return after in _EXTENDING


def _is_regional(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"
