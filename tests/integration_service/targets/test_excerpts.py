"""What is kept of a stranger's answer, and what never is."""

import base64
import json

import pytest

from integration_service.targets.excerpts import excerpt_of

KEY = base64.b64encode(b"\xfb\xff/" * 8).decode()
SECRET = f"whsec_{KEY}"
DATA = {
    "name": "Jörg O'Neil & Sons",
    "email": "joerg@example.com",
    "age": 41,
    "welcome": False,
    "note": 'He said "hello".\nTwice.',
    "tags": ["early adopter", {"deep": "Krähenwinkel"}],
    "letter": "x",
}


def kept(answer: str | bytes) -> str:
    content = answer.encode() if isinstance(answer, str) else answer
    return excerpt_of(content, [KEY], DATA)


@pytest.mark.parametrize(
    ("answer", "excerpt"),
    {
        "": "",
        "No such customer.": "No such customer.",
        "  <h1>Oops</h1>\r\n\t<p>late</p>\n": "<h1>Oops</h1> <p>late</p>",
        "ä\x00b\x1b[31mc\x7fd\u202ee\u200bf": "ä b [31mc d e f",
        b"\xff\xfe and text": "\ufffd\ufffd and text",
        f"key {SECRET} and {KEY}.": "key whsec_[secret] and [secret].",
        f"json {json.dumps(KEY)} php " + KEY.replace("/", "\\/"): 'json "[secret]" php [secret]',
        "url " + KEY.replace("/", "%2F").replace("+", "%2B"): "url [secret]",
        "another whsec_MDEyMzQ1 of theirs": "another [secret] of theirs",
        f"signed v1,{'A' * 43}= v1a": "signed [secret] v1a",
        "Authorization: Bearer abc.def\nnext": "Authorization: [secret] next",
        "authorization=Token abc": "authorization=[secret]",
        '{"Authorization": "Basic am9lOg=="}': '{"Authorization": [secret]}',
        "'HTTP_AUTHORIZATION' => 'Digest x'": "'HTTP_AUTHORIZATION' => [secret]",
        "sent Bearer abc.def here": "sent Bearer [token] here",
        "sent Basic am9lOmpvZQ== here": "sent Basic [secret] here",
        "Basic authentication is needed": "Basic authentication is needed",
        "of nobody@example.org": "of [e-mail]",
        "JOERG@example.com is taken": "[data] is taken",
        "no name is Jörg O'Neil & Sons!": "no name is [data]!",
        '{"name": "J\\u00f6rg O\'Neil & Sons"}': '{"name": "[data]"}',
        "<b>Jörg O&#x27;Neil &amp; Sons</b>": "<b>[data]</b>",
        "?n=J%C3%B6rg%20O%27Neil%20%26%20Sons": "?n=[data]",
        'said He said \\"hello\\".\nTwice.': "said [data]",
        "an early adopter of Krähenwinkel": "an [data] of [data]",
        "Krähenwinkels early adopters, 41, x": "Krähenwinkels early adopters, 41, x",
    }.items(),
)
def test_an_excerpt_is_one_clean_line(answer: str | bytes, excerpt: str) -> None:
    assert kept(answer) == excerpt


@pytest.mark.parametrize("letter", ["x", "ä", "€", "😀"])
def test_it_has_a_kibibyte_at_most_and_no_broken_letter(letter: str) -> None:
    found = kept(letter * 3000)

    assert 1021 <= len(found.encode()) <= 1024
    assert set(found) == {letter}


def test_what_is_cut_was_cleaned_before() -> None:
    """No half of a secret is left at the cut."""
    assert kept("." * 1000 + SECRET + "." * 100) == "." * 1000 + "whsec_[secret]" + "." * 10


@pytest.mark.parametrize(
    "piece",
    ["authorization: ", "authorization='", 'authorization="', "Basic ", " ", "joerg@", "\\"],
)
def test_a_hostile_answer_takes_no_time_to_speak_of(piece: str) -> None:
    """Each letter is looked at a bounded number of times: it would take minutes otherwise."""
    kept(piece * (64 * 1024 // len(piece)))
