"""The official ``openai`` client, and a plain websocket, against a server on a port, with the bundled model."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from streamt1.config.load import load_config
from streamt1.server.models import LoadedPresets
from streamt1.server.service import Service
from tests.server.live import listening
from tests.server.toy import until

openai = pytest.importorskip("openai", reason="the official client is missing (pip install openai)")
websockets = pytest.importorskip("websockets.sync.client")

KEY = "a key"
PROMPT = "a red circle bouncing on a navy striped background"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    presets = LoadedPresets.load("cpu", {"pocket": load_config("pocket", {"device": "cpu"})})
    with listening(Service.over([presets], tmp_path_factory.mktemp("data"), key=KEY)) as address:
        yield address


def test_the_openai_client_creates_polls_lists_downloads_and_deletes(address: str, tmp_path: Path) -> None:
    client = openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0)
    search = {"policy": "greedy", "seed": 3}
    video = client.videos.create_and_poll(model="pocket", prompt=PROMPT, seconds="1", extra_body=search)
    assert video.status == "completed", video.error
    assert (video.object, video.model, video.seconds, video.size, video.progress) == (
        "video", "pocket", "1", "256x256", 100,
    )  # fmt: skip
    assert client.videos.retrieve(video.id).created_at == video.created_at
    client.videos.download_content(video.id).write_to_file(tmp_path / "video.mp4")
    with av.open(str(tmp_path / "video.mp4")) as container:
        assert len(list(container.decode(video=0))) == 21
    assert client.videos.download_content(video.id, variant="thumbnail").read()[8:12] == b"WEBP"
    assert [one.id for one in client.videos.list(limit=1)] == [video.id]
    assert [one.id for one in client.models.list()] == ["pocket"]
    assert client.videos.delete(video.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(video.id)


def test_the_openai_client_over_its_other_calls(address: str) -> None:
    """Those that older and newer versions have; what this server does not have is not found, in OpenAI's shape."""
    client = openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0)
    once = {"Idempotency-Key": "the client's own"}
    asked = {"model": "pocket", "prompt": PROMPT, "seconds": "1", "extra_body": {"policy": "greedy"}}
    first, again = (client.with_options(timeout=60).videos.create(**asked, extra_headers=once) for _ in range(2))
    assert first.id == again.id
    done = client.videos.poll(first.id)
    assert (done.status, done.prompt, done.remixed_from_video_id) == ("completed", PROMPT, None)
    picture = client.videos.download_content(done.id, variant="spritesheet")
    assert picture.response.headers["x-image-size"].count("x") == 1
    raw = client.videos.with_raw_response.retrieve(done.id)
    assert raw.headers["openai-poll-after-ms"] == "500"
    with client.videos.with_streaming_response.download_content(done.id) as answer:
        assert next(answer.iter_bytes(8))[4:8] == b"ftyp"
    assert client.models.retrieve("pocket").id == "pocket"
    videos = client.videos
    for name, told in (
        ("remix", {"video_id": done.id, "prompt": "x"}),
        ("edit", {"video": b"x", "prompt": "x"}),
        ("extend", {"video": b"x", "prompt": "x", "seconds": "4"}),
        ("create_character", {"name": "x", "video": b"x"}),
        ("get_character", {"character_id": "x"}),
    ):
        if hasattr(videos, name):
            with pytest.raises(openai.NotFoundError, match="videos are made by POST /v1/videos") as raised:
                getattr(videos, name)(**told)
            assert raised.value.code == "not_found"
    assert client.videos.delete(done.id).deleted


async def _with_the_other_client(address: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0) as client:
        video = await client.videos.create_and_poll(prompt=PROMPT, seconds="1", extra_body={"policy": "greedy"})
        assert video.status == "completed"
        assert (await client.videos.list(limit=1, order="desc")).data[0].id == video.id
        await client.videos.delete(video.id)


def test_the_openai_client_that_does_not_wait(address: str) -> None:
    asyncio.run(_with_the_other_client(address))


def test_the_openai_client_hears_what_was_wrong(address: str) -> None:
    client = openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0)
    with pytest.raises(openai.BadRequestError, match="unknown model 'sora-2'") as raised:
        client.videos.create(model="sora-2", prompt=PROMPT)
    assert raised.value.code == "unknown_name"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{address}/v1", api_key="wrong").videos.list()


def test_the_openai_client_reads_what_was_cancelled(address: str, tmp_path: Path) -> None:
    client = openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0)
    video = client.videos.create(prompt=PROMPT, seconds="60", extra_body={"lag": 0})
    until(lambda: client.videos.retrieve(video.id).progress > 0, 60)
    assert client.post(f"/videos/{video.id}/cancel", cast_to=object)["status"] == "cancelled"
    assert client.videos.poll(video.id).status == "cancelled"

    def made() -> bytes | None:
        try:
            return client.videos.download_content(video.id).read()
        except openai.BadRequestError:
            return None

    with av.open(io.BytesIO(until(made))) as container:
        assert len(list(container.decode(video=0))) / 16 == pytest.approx(
            float(client.videos.retrieve(video.id).seconds), abs=0.1
        )
    assert [one.status for one in client.videos.list(limit=1)] == ["cancelled"]


def test_a_websocket_client_gets_the_video_in_pieces(address: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    with websockets.connect(address.replace("http", "ws") + "/v1/stream", additional_headers=headers) as socket:
        socket.send(json.dumps({"prompt": PROMPT, "seconds": 1, "beam_size": 1, "top_k": 2, "lag": 0}))
        messages = list(socket)
    events = [json.loads(message) for message in messages if isinstance(message, str)]
    assert events[-1]["event"] == "completed"
    content = b"".join(message for message in messages if isinstance(message, bytes))
    with av.open(io.BytesIO(content)) as container:
        assert len(list(container.decode(video=0))) == 21
