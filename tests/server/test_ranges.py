"""Parts of a video, as players ask for them: Safari plays nothing without."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from tests.server.test_videos import create, finished


@pytest.fixture
def address(client: TestClient) -> str:
    name = create(client)["id"]
    assert finished(client, name)["status"] == "completed"
    return f"/v1/videos/{name}/content"


def test_parts_of_a_video(client: TestClient, address: str) -> None:
    whole = client.get(address)
    content, size = whole.content, len(whole.content)
    assert (whole.status_code, whole.headers["accept-ranges"]) == (200, "bytes")
    assert whole.headers["content-length"] == str(size)
    for asked, begin, end in (
        ("0-1", 0, 2),  # Safari's first question
        ("0-", 0, size),
        (f"0-{size - 1}", 0, size),
        (f"{size - 1}-", size - 1, size),
        ("100-199", 100, 200),
        (f"100-{size + 999}", 100, size),
        ("-64", size - 64, size),
        (f"-{size + 1}", 0, size),
    ):
        part = client.get(address, headers={"Range": f"bytes={asked}"})
        assert part.status_code == 206, asked
        assert part.content == content[begin:end], asked
        assert part.headers["content-range"] == f"bytes {begin}-{end - 1}/{size}"
        assert part.headers["content-length"] == str(end - begin)
        assert part.headers["accept-ranges"] == "bytes"
        assert part.headers["content-type"] == "video/mp4"


def test_parts_that_are_not_there(client: TestClient, address: str) -> None:
    size = len(client.get(address).content)
    for asked in (f"{size}-", f"{size + 5}-{size + 9}", "-0"):
        none = client.get(address, headers={"Range": f"bytes={asked}"})
        assert none.status_code == 416, asked
        assert none.headers["content-range"] == f"bytes */{size}"
    assert client.get(address, headers={"Range": "bytes=9-2"}).status_code == 400


def test_a_part_of_what_has_changed_is_the_whole(client: TestClient, address: str) -> None:
    whole = client.get(address)
    for known in (whole.headers["etag"], whole.headers["last-modified"]):
        part = client.get(address, headers={"Range": "bytes=0-9", "If-Range": known})
        assert (part.status_code, part.content) == (206, whole.content[:10])
    other = client.get(address, headers={"Range": "bytes=0-9", "If-Range": '"another"'})
    assert (other.status_code, other.content) == (200, whole.content)


def test_parts_of_pictures(client: TestClient, address: str) -> None:
    for variant in ("thumbnail", "spritesheet"):
        whole = client.get(address, params={"variant": variant})
        part = client.get(address, params={"variant": variant}, headers={"Range": "bytes=4-7"})
        assert (part.status_code, part.content) == (206, whole.content[4:8])
