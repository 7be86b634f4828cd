"""What is kept of a receiver's answer, for whoever looks for the reason of a failure.

It is a stranger's text: what it repeats of our request is taken out, secrets and personal data.
"""

import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

from service_kit.process.logs import clean

LARGEST_EXCERPT = 1024
# So much is looked at; what is taken out of it makes it shorter.
_LOOKED_AT = 8 * 1024
SHORTEST_VALUE = 3
# Control characters, and those that show a text in another order than it has, or not at all.
_UNPRINTABLE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")
# The bounds keep a hostile answer from taking seconds.
_AUTHORIZATION = re.compile(
    r"""(authorization[\\"'\]]{0,9}\s?(?:=>|[:=])\s?)(?:"[^"]{0,999}"|\S{1,999}(?:\s\S{1,999})?)""",
    re.IGNORECASE,
)
# Not "Basic authentication".
_CREDENTIALS = re.compile(r"\b[Bb]asic (?![a-z]+\b)[A-Za-z0-9+/=._~-]{4,}")
_SIGNED = re.compile(r"\bv1,[a-z0-9+/]{43}=|\bwhsec_[a-z0-9+/=_-]+", re.IGNORECASE)


def excerpt_of(content: bytes, secrets: Iterable[str], data: Any) -> str:
    """Return the beginning of an answer, without secrets and without what was sent as `data`."""
    text = _UNPRINTABLE.sub(" ", content.decode(errors="replace")).strip()[:_LOOKED_AT]
    text = _replaced(text, secrets, "[secret]")
    text = _SIGNED.sub("[secret]", text)
    text = _AUTHORIZATION.sub(r"\1[secret]", text)
    text = _CREDENTIALS.sub("Basic [secret]", text)
    text = clean(_replaced(text, _strings_in(data), "[data]", whole_words=True))
    return text.encode()[:LARGEST_EXCERPT].decode(errors="ignore")


def _replaced(text: str, values: Iterable[str], instead: str, *, whole_words: bool = False) -> str:
    """Replace these values, also as JSON, HTML and URLs write them."""
    forms = {form for value in values for form in _forms(value) if len(form) >= SHORTEST_VALUE}
    if not forms:
        return text
    longest_first = sorted(forms, key=len, reverse=True)
    found = "|".join(re.escape(form) for form in longest_first)
    pattern = rf"(?<!\w)(?:{found})(?!\w)" if whole_words else found
    return re.sub(pattern, instead, text, flags=re.IGNORECASE)


def _forms(value: str) -> Iterator[str]:
    value = _UNPRINTABLE.sub(" ", value).strip()
    yield value
    yield value.replace("/", r"\/")
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield html.escape(value)
    yield quote(value, safe="")


def _strings_in(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        for value in data.values():
            yield from _strings_in(value)
    elif isinstance(data, list):
        for value in data:
            yield from _strings_in(value)
