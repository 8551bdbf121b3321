"""A picture that comes with a request begins its video: on the bundled model."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from streamt1.config.load import load_config
from streamt1.core.errors import ConfigError
from streamt1.server import service as services
from streamt1.server.app import make_app
from streamt1.server.limits import Limits
from streamt1.server.models import LoadedPresets
from streamt1.server.schemas import new_id
from streamt1.server.service import Service
from tests.server.test_bad_input import nothing_happened
from tests.server.test_videos import PROMPT, status
from tests.server.toy import until


def photo(colour: tuple[int, int, int] = (200, 40, 30), size: tuple[int, int] = (96, 64)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, format="PNG")
    return buffer.getvalue()


def finished(client: TestClient, name: str) -> dict[str, Any]:
    """A real model takes its time where others use the machine."""
    until(lambda: status(client, name) in ("completed", "failed"), 240.0)
    return client.get(f"/v1/videos/{name}").json()


@pytest.fixture(scope="module")
def presets() -> LoadedPresets:
    return LoadedPresets.load("cpu", {"pocket": load_config("pocket", {"policy": "greedy"})})


@pytest.fixture
def pocket(presets: LoadedPresets, tmp_path: Path) -> Service:
    return Service.over([presets], tmp_path)


@pytest.fixture
def served(pocket: Service) -> Iterator[TestClient]:
    with TestClient(make_app(pocket)) as client:
        yield client


def test_a_picture_begins_the_video(served: TestClient, pocket: Service) -> None:
    form = {"prompt": PROMPT, "seconds": "0.6"}
    answer = served.post("/v1/videos", data=form, files={"input_reference": ("photo.png", photo(), "image/png")})
    assert answer.status_code == 200, answer.text
    assert answer.json()["chunks"] == 2
    done = finished(served, answer.json()["id"])
    assert (done["status"], done["progress"]) == ("completed", 100), done
    content = served.get(f"/v1/videos/{done['id']}/content").content
    with av.open(io.BytesIO(content)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 2 * 9 + 3
    assert abs(frames[0].mean((0, 1)) - (200, 40, 30)).max() < 30, "the VAE never saw a plain picture"
    assert not any(pocket.queue.folder.glob("*.picture")), "the picture is not kept"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is not a picture that can be read: its format is not known"),
        (b"<svg/>", "the file is not a picture that can be read: its format is not known"),
        (photo()[:60], "the file is not a picture that can be read"),
    ],
)
def test_what_is_no_picture_is_refused(content: bytes, says: str, served: TestClient, pocket: Service) -> None:
    answer = served.post("/v1/videos", data={"prompt": PROMPT}, files={"input_reference": ("photo.png", content)})
    assert answer.status_code == 400, answer.text
    assert says in answer.json()["error"]["message"]
    assert answer.json()["error"]["param"] == "input_reference"
    nothing_happened(served, pocket)


def test_a_large_file_and_a_second_one_are_refused(served: TestClient, pocket: Service) -> None:
    most = pocket.queue.limits.picture + pocket.queue.limits.body
    answer = served.post("/v1/videos", data={"prompt": PROMPT}, files={"input_reference": ("a.png", b"x" * most)})
    assert answer.status_code == 413
    two = [("input_reference", ("a.png", photo())), ("input_reference", ("b.png", photo()))]
    answer = served.post("/v1/videos", data={"prompt": PROMPT}, files=two)
    assert "is given twice" in answer.json()["error"]["message"]
    nothing_happened(served, pocket)


def test_models_that_begin_with_text_alone_say_so(client: TestClient, service: Service) -> None:
    answer = client.post("/v1/videos", data={"prompt": PROMPT}, files={"input_reference": ("photo.png", photo())})
    assert answer.status_code == 400
    assert "these models begin videos with text alone" in answer.json()["error"]["message"]
    nothing_happened(client, service)


def test_what_is_cheap_is_checked_before_the_picture_is_decoded(served: TestClient) -> None:
    for fields, param in (({"seconds": "9000"}, "seconds"), ({"size": "9x9"}, "size"), ({"budget": "1"}, "budget")):
        answer = served.post("/v1/videos", data={"prompt": PROMPT, **fields}, files={"input_reference": ("a.png", b"")})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def sent(client: TestClient, seed: int = 0) -> int:
    form = {"prompt": PROMPT, "seconds": "0.6", "seed": str(seed)}
    return client.post("/v1/videos", data=form, files={"input_reference": ("a.png", photo())}).status_code


@pytest.mark.parametrize(("limits", "says"), [(Limits(waiting=1), 429), (Limits(free=1e30), 507)])
def test_where_there_is_no_room_no_picture_is_decoded(
    limits: Limits, says: int, presets: LoadedPresets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, decoded = Service.over([presets], tmp_path, limits), list[object]()
    monkeypatch.setattr(services, "check_picture", lambda *told: decoded.append(told))
    client = TestClient(make_app(service))  # its worker does not begin
    answers = [sent(client, seed) for seed in range(3)]
    assert answers == [200 if says == 429 else 507, says, says]
    assert len(decoded) == answers.count(200)
    service.queue.store.close()


def test_one_picture_is_decoded_at_a_time(served: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, most = set[object](), list[int]()

    def decode(*told: object) -> None:
        at_once.add(told)
        most.append(len(at_once))
        time.sleep(0.05)
        at_once.remove(told)
        raise ConfigError("the file is not a picture that can be read: it is a test")

    monkeypatch.setattr(services, "check_picture", decode)
    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(lambda seed: sent(served, seed), range(6))) == {400}
    assert most == [1] * 6


def test_a_picture_whose_job_was_never_there_goes(presets: LoadedPresets, tmp_path: Path) -> None:
    """A kill fell between the two; where the database itself is new, it may be the one that was lost."""
    lone = tmp_path / "videos" / f"{new_id()}.picture"
    before = Service.over([presets], tmp_path)
    before.queue.submit(before.checked({"prompt": PROMPT, "seconds": "0.6"}))
    before.queue.store.close()
    lone.write_bytes(photo())
    again = Service.over([presets], tmp_path)
    again.queue.store.close()
    assert not lone.exists()
    assert not (tmp_path / "lost").exists()
    for path in tmp_path.glob("jobs.sqlite*"):
        path.unlink()
    lone.write_bytes(photo())
    Service.over([presets], tmp_path).queue.store.close()
    assert (tmp_path / "lost" / lone.name).read_bytes() == photo()


def test_a_job_waits_with_its_picture(presets: LoadedPresets, tmp_path: Path) -> None:
    """The server is closed before its worker begins, and opened again; then the picture of another job is lost."""
    fields = {"prompt": PROMPT, "seconds": "0.6", "input_reference": photo()}
    before = Service.over([presets], tmp_path)
    kept, lost = (before.queue.submit(before.checked(fields)) for _ in range(2))
    before.queue.picture_of(lost).unlink()
    stray = before.queue.folder / f"video_{'0' * 32}.picture"
    stray.write_bytes(b"of a job that is not known")
    before.queue.store.close()
    with TestClient(make_app(Service.over([presets], tmp_path))) as client:
        assert not stray.exists()
        assert finished(client, kept.id)["status"] == "completed"
        failed = finished(client, lost.id)
        assert failed["status"] == "failed"
        assert failed["error"]["message"] == "the picture that this video begins with is lost: send it again"
        waiting = client.post("/v1/videos", data={"prompt": PROMPT}, files={"input_reference": ("a.png", photo())})
        client.delete(f"/v1/videos/{waiting.json()['id']}")
