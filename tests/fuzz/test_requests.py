"""Bodies of requests to the server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("fastapi", reason="the extra serve is missing")

from starlette.requests import Request

from streamt1.core.errors import StreamT1Error
from streamt1.server.body import parse_json, read_fields
from streamt1.server.errors import answer_to
from streamt1.server.limits import Limits
from streamt1.server.schemas import Job, check_request
from tests.fuzz.mutations import NASTY, as_json, garbage, json_texts, json_values, mutated
from tests.fuzz.rule import check_sentence, kept
from tests.server.toy import toy_presets

FIELDS = {
    "prompt": "a red circle bouncing on a navy striped background", "model": "pocket", "seconds": 2, "size": "16x16",
    "preset": "pocket", "policy": "beam", "beam_size": 2, "top_k": 2, "seed": 3, "lag": 1, "budget": "60s",
}  # fmt: skip
FORM = (
    b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na red circle\r\n'
    b'--x\r\nContent-Disposition: form-data; name="seconds"\r\n\r\n4\r\n--x--\r\n'
)
KINDS = [
    "application/json", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "text/plain", "",
    "multipart/form-data", "application/json; charset=utf-16", "a/b+json",
]  # fmt: skip


@pytest.fixture(scope="module")
def presets() -> Any:
    return toy_presets(lambda: None, ("pocket", "paper"))


def _answered(body: Any, presets: Any) -> None:
    """As the server does: a job that can be shown, or an error that can be sent."""
    try:
        request = check_request(body, presets, Limits())
        as_json(Job("video_" + "0" * 32, request, False, 0).record()).decode().encode()
    except StreamT1Error as error:
        status, told = answer_to(error)
        as_json(told)
        if not 400 <= status < 500:
            raise AssertionError(f"{status}: {error}") from error
        raise


@given(fields=st.fixed_dictionaries({}, optional={name: st.one_of(st.just(value), st.sampled_from(NASTY), json_values)
                                                  for name, value in FIELDS.items()}))  # fmt: skip
def test_fields(fields: dict[str, Any], presets: Any) -> None:
    kept("request fields", lambda: _answered({"prompt": FIELDS["prompt"], **fields}, presets))


@given(body=json_texts(FIELDS))
def test_bodies(body: bytes, presets: Any) -> None:
    kept("request bodies", lambda: _answered(parse_json(body), presets))


BODIES = st.one_of(mutated(FORM, as_json(FIELDS), b"prompt=a+red+circle&seconds=4"), garbage)
LENGTHS = st.sampled_from([None, b"0", b"99999999999", b"-1", b"x", b"\xb2"])


@given(kind=st.sampled_from(KINDS), body=BODIES, length=LENGTHS)
def test_requests(kind: str, body: bytes, length: bytes | None, presets: Any) -> None:
    headers = [(b"content-type", kind.encode())] + ([(b"content-length", length)] if length else [])

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    def read() -> None:
        request = Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)
        _answered(asyncio.run(read_fields(request, 65536)), presets)

    kept("requests", read)


def test_a_sentence_is_one_line() -> None:
    check_sentence("the prompt is empty")
    with pytest.raises(AssertionError):
        check_sentence("two\nlines")
