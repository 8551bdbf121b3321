"""A worker whose every search takes several devices: of this process, and of a Ray that is started for it."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import typer.testing
from fastapi.testclient import TestClient
from PIL import Image

from streamt1.cli import serve
from streamt1.cli.main import app
from streamt1.config.load import load_config
from streamt1.core.errors import ConfigError
from streamt1.distributed import Fleet, Link, remote_models
from streamt1.distributed.devices import one_by_one
from streamt1.distributed.pool import DevicePool
from streamt1.families.build import build
from streamt1.pipeline.pipeline import Pipeline
from streamt1.server.app import make_app
from streamt1.server.models import LoadedPresets
from streamt1.server.service import Service
from streamt1.server.shared import SharedPresets
from tests.distributed.links import LocalLink
from tests.server.toy import until

CONFIG = one_by_one(load_config("pocket", {"device": "cpu"}))
PROMPT = "a red circle bouncing on a navy striped background"
OTHER = "a green star sliding on a teal plain background"
ORDER = {"prompt": PROMPT, "seconds": "2", "beam_size": 2, "top_k": 2, "seed": 4}
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(is lost|cannot take part):streamt1.core.errors.StreamT1Warning", "ignore::DeprecationWarning"
)


def fleet_of(*dies_at: int | None) -> tuple[Fleet, list[LocalLink]]:
    """Devices of this process, and those that come in place of lost ones: one for each, when it is asked for twice."""
    links = [LocalLink(build(CONFIG), f"device {place}", dies) for place, dies in enumerate(dies_at)]
    asked: list[Link] = []

    def renew(lost: Link) -> Link:
        asked.append(lost)
        links.append(LocalLink(build(CONFIG), lost.name, 0 if len(asked) <= len(dies_at) else None))
        return links[-1]

    return Fleet(links[:], renew), links


def service_over(data: Path, models: Any) -> Service:
    return Service.over([LoadedPresets("2 x cpu", {"pocket": Pipeline(CONFIG, models)})], data)


def made(client: TestClient, order: dict[str, Any] = ORDER) -> dict[str, Any]:
    """The record of a video that is ordered, when it has ended."""
    name = client.post("/v1/videos", json=order).json()["id"]

    def ended() -> dict[str, Any] | None:
        record = client.get(f"/v1/videos/{name}").json()
        return record if record["status"] in ("completed", "failed") else None

    return until(ended, 120)


def content(client: TestClient, record: dict[str, Any]) -> bytes:
    assert record["status"] == "completed", record["error"]
    return client.get(f"/v1/videos/{record['id']}/content").content


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The video of one device."""
    with TestClient(make_app(service_over(tmp_path_factory.mktemp("alone"), build(CONFIG)))) as client:
        return content(client, made(client))


def talked_to(client: TestClient) -> dict[str, Any]:
    """The record of a stream that is given another prompt and is told to end."""
    messages: list[dict[str, Any]] = []
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_json({"prompt": PROMPT, "lag": 1, "beam_size": 2, "top_k": 2})

        def heard_until(event: str) -> dict[str, Any]:
            while not messages or messages[-1]["event"] != event:
                message = socket.receive()
                assert message["type"] != "websocket.close", messages[-1]
                if message.get("text"):
                    messages.append(json.loads(message["text"]))
            return messages[-1]

        heard_until("fragment")
        socket.send_json({"prompt": OTHER})
        assert heard_until("prompt_taken")["prompt"] == OTHER
        assert heard_until("scene_started")["prompt"] == OTHER
        heard_until("fragment")
        socket.send_json({"end": True})
        done = heard_until("completed")["video"]
        assert socket.receive()["type"] == "websocket.close"
    told = [message["event"] for message in messages]
    assert done["chunks"] == told.count("fragment")
    assert told.count("picture") == told.count("candidate_proposed")
    assert [scene["prompt"] for scene in done["timeline"]] == [PROMPT, OTHER]
    return done


def test_videos_and_streams_are_those_of_one_device(tmp_path: Path, alone: bytes) -> None:
    fleet, links = fleet_of(None, None)
    service = service_over(tmp_path, remote_models(fleet))
    with TestClient(make_app(service)) as client:
        assert client.get("/v1/models").json()["data"][0]["size"] == "256x256"
        assert client.get("/health").json()["workers"] == [{"device": "2 x cpu", "alive": True}]
        assert content(client, made(client)) == alone
        talked_to(client)
        assert content(client, made(client)) == alone
        assert [bool(link.worker._held) for link in links] == [True, True]
        fleet.sync(flush=True)
        assert [len(link.worker._held) for link in links] == [0, 0]


@pytest.mark.slow
def test_a_device_is_lost_during_a_job(tmp_path: Path, alone: bytes) -> None:
    fleet, _ = fleet_of(20, None)
    with TestClient(make_app(service_over(tmp_path, remote_models(fleet)))) as client:
        assert content(client, made(client)) == alone
        assert fleet.lost == 1
        talked_to(client)


@pytest.mark.slow
def test_a_server_that_lost_all_devices_asks_for_them_again(tmp_path: Path, alone: bytes) -> None:
    fleet, links = fleet_of(20, 20)
    with TestClient(make_app(service_over(tmp_path, remote_models(fleet)))) as client:
        record = made(client)
        if record["status"] == "failed":
            assert "devices" in record["error"]["message"]
            record = made(client)
        assert content(client, record) == alone
        assert len(links) == 6
        talked_to(client)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--devices", "2", "--ray", "127.0.0.1:1"], "there is no Ray at '127.0.0.1:1'"),
        (["--devices", "2", "--device", "cpu", "--device", "cpu"], "give one --device at most"),
        (["--devices", "2", "--device", "cuda:1"], "is one device"),
        (["--devices-per-job", "2"], "give one of them too"),
        (["--devices", "2", "--devices-per-job", "3"], "--devices-per-job=3: this server has 2 devices"),
        (["--devices", "2", "--memory", ""], "config key 'device_memory': '' is not an amount of memory"),
        (["--devices", "2", "--ray", ""], "there is no Ray at ''"),
    ],
)
def test_what_cannot_be_had_is_told_before_it_listens(
    more: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr("streamt1.server.app.listen", lambda *args: pytest.fail("it listens"))
    monkeypatch.setattr("ray.init", lambda **told: pytest.fail("it starts Ray"))
    found = typer.testing.CliRunner().invoke(app, ["serve", "--data", str(tmp_path / "data"), *more])
    assert found.exit_code == 2
    assert told in found.stderr
    assert found.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


def shared(data: Path, count: int, usual: int | None = None) -> Service:
    """Devices of this process, of which every video takes some."""
    pool = DevicePool(count, lambda lost: LocalLink(build(CONFIG), lost.name))
    pool.add("pocket", [LocalLink(build(CONFIG), f"device {place}") for place in range(count)])
    presets = SharedPresets(f"{count} x cpu", {"pocket": CONFIG}, pool, usual)
    return Service.over([presets] * presets.most, data)


def test_videos_are_made_side_by_side_on_devices_of_their_own(tmp_path: Path) -> None:
    service, order = shared(tmp_path, 2), {**ORDER, "seconds": "1", "top_k": 1}
    with TestClient(make_app(service)) as client:
        assert len(client.get("/health").json()["workers"]) == 2
        names = [client.post("/v1/videos", json={**order, "devices": 1}).json()["id"] for _ in range(2)]
        until(lambda: len(service.queue.at_work()) == 2, 30)
        places = service.presets._pool._free  # type: ignore[attr-defined]
        assert until(lambda: not places, 30)

        def ended(name: str) -> dict[str, Any] | None:
            record = client.get(f"/v1/videos/{name}").json()
            return record if record["status"] in ("completed", "failed") else None

        records = [until(lambda name=name: ended(name), 120) for name in names]
        records.append(made(client, order))
        assert [record["devices"] for record in records] == [1, 1, None]
        assert len({content(client, record) for record in records}) == 1, "the same video on one device and on both"
        until(lambda: places == {0, 1}, 30)


def test_a_video_begins_with_a_picture_there_too(tmp_path: Path) -> None:
    picture = BytesIO()
    Image.new("RGB", (80, 60), "teal").save(picture, "PNG")
    with TestClient(make_app(shared(tmp_path, 2))) as client:
        videos = set()
        for devices in (1, 2):
            fields = {"prompt": ORDER["prompt"], "seconds": "1", "top_k": "1", "seed": "3", "devices": str(devices)}
            photo = {"input_reference": ("photo.png", picture.getvalue(), "image/png")}
            name = client.post("/v1/videos", data=fields, files=photo).json()["id"]
            until(lambda name=name: client.get(f"/v1/videos/{name}").json()["status"] in ("completed", "failed"), 120)
            videos.add(content(client, client.get(f"/v1/videos/{name}").json()))
        assert len(videos) == 1


@pytest.mark.parametrize(
    ("devices", "told"),
    [(3, "this server has 2 devices"), (0, "greater than or equal to 1"), ("many", "valid integer")],
)
def test_devices_that_are_not_there_are_refused(devices: Any, told: str, tmp_path: Path) -> None:
    with TestClient(make_app(shared(tmp_path, 2, 1))) as client:
        answer = client.post("/v1/videos", json={**ORDER, "devices": devices})
        assert answer.status_code == 400
        assert told in answer.json()["error"]["message"]
        assert "devices" in answer.json()["error"]["message"]
        assert answer.json()["error"]["param"] == "devices"


def test_a_video_that_is_deleted_while_it_waits_for_devices_is_gone(tmp_path: Path) -> None:
    service = shared(tmp_path, 2)
    with TestClient(make_app(service)) as client:
        loan = service.presets._pool.take(2, lambda: True)  # type: ignore[attr-defined]
        name = client.post("/v1/videos", json=ORDER).json()["id"]
        until(lambda: service.queue.at_work(), 30)
        assert client.delete(f"/v1/videos/{name}").status_code == 200
        assert until(lambda: not service.queue.at_work() or None, 30)
        loan.give_back()
        assert client.get(f"/v1/videos/{name}").status_code == 404


def test_waiting_for_devices_is_no_attempt(tmp_path: Path) -> None:
    """A server that goes down three times meanwhile has not failed three times to make the video."""
    service = shared(tmp_path, 2)
    with TestClient(make_app(service)) as client:
        loan = service.presets._pool.take(2, lambda: True)  # type: ignore[attr-defined]
        name = client.post("/v1/videos", json={**ORDER, "seconds": "1"}).json()["id"]
        until(lambda: service.queue.at_work(), 30)
        assert service.queue.get(name).attempts == 0
        service.queue.close()
        until(lambda: not service.queue.at_work(), 30)
        assert (service.queue.get(name).status, service.queue.get(name).attempts) == ("queued", 0)
        loan.give_back()
    service = shared(tmp_path, 2)
    with TestClient(make_app(service)):
        until(lambda: service.queue.get(name).status == "completed", 120)
        assert service.queue.get(name).attempts == 1


def test_more_devices_a_job_than_there_are_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--devices-per-job=3: this server has 2 devices"):
        shared(tmp_path, 2, 3)


@pytest.mark.slow
def test_two_presets_share_the_devices_of_ray(tmp_path: Path, alone: bytes) -> None:
    pytest.importorskip("ray")
    other = load_config("pocket", {"device": "cpu", "search.lag": 1})
    with serve._over({"pocket": CONFIG, "lagging": other}, "cpu", 2, None) as presets:
        assert presets.device == "2 x cpu"
        with TestClient(make_app(Service.over([presets] * presets.most, tmp_path))) as client:
            assert content(client, made(client)) == alone
            assert content(client, made(client, {**ORDER, "devices": 1})) == alone
            assert made(client, {**ORDER, "model": "lagging"})["status"] == "completed"
            talked_to(client)
