"""Create, poll, fetch, list, delete: over the toy."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import pytest
from fastapi.testclient import TestClient

from streamt1.core.errors import OutputError
from streamt1.pipeline import run_folder
from streamt1.pipeline.run import Run
from streamt1.server import troubles
from streamt1.server.service import Service
from tests.server.toy import SECONDS, Gate, until

PROMPT = "a red circle bouncing on a navy striped background"
ORDER = {"prompt": PROMPT, "seconds": SECONDS}


def create(client: TestClient, **fields: Any) -> dict[str, Any]:
    answer = client.post("/v1/videos", json={**ORDER, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def status(client: TestClient, name: str) -> str:
    return client.get(f"/v1/videos/{name}").json()["status"]


def finished(client: TestClient, name: str) -> dict[str, Any]:
    until(lambda: status(client, name) in ("completed", "failed"))
    return client.get(f"/v1/videos/{name}").json()


def test_create_poll_and_fetch(client: TestClient, gate: Gate, service: Service) -> None:
    gate.shut()
    job = create(client, lag=1, beam_size=2, top_k=1, seed=7, budget=100, policy="beam")
    assert {key: job[key] for key in ("object", "status", "progress", "model", "seconds", "size")} == {
        "object": "video", "status": "queued", "progress": 0, "model": "pocket", "seconds": "0.25", "size": "256x256",
    }  # fmt: skip
    assert (job["lag"], job["beam_size"], job["top_k"], job["seed"], job["budget"]) == (1, 2, 1, 7, "100")
    until(lambda: status(client, job["id"]) == "in_progress")
    early = client.get(f"/v1/videos/{job['id']}/content")
    assert early.status_code == 400
    assert early.json()["error"]["code"] == "not_ready"
    gate.open()
    done = finished(client, job["id"])
    assert done["status"] == "completed", done
    assert done["progress"] == 100
    assert done["completed_at"] >= done["created_at"]
    content = client.get(f"/v1/videos/{job['id']}/content")
    assert content.headers["content-type"] == "video/mp4"
    with av.open(io.BytesIO(content.content)) as container:
        assert len(list(container.decode(video=0))) == 4
    part = client.get(f"/v1/videos/{job['id']}/content", headers={"Range": "bytes=0-99"})
    assert (part.status_code, len(part.content)) == (206, 100)
    for variant, kind in (("thumbnail", "image/webp"), ("spritesheet", "image/png")):
        picture = client.get(f"/v1/videos/{job['id']}/content", params={"variant": variant})
        assert picture.headers["content-type"] == kind
    report = client.get(f"/v1/videos/{job['id']}/report")
    assert "Report of a search" in report.text
    assert "Beam search" in report.text


def test_a_form_is_read_like_json(client: TestClient) -> None:
    for kind in ("files", "data"):
        fields = {"prompt": PROMPT, "seconds": "0.25", "beam_size": "1", "top_k": "2", "lag": ""}
        sent = {name: (None, value) for name, value in fields.items()} if kind == "files" else fields
        answer = client.post("/v1/videos", **{kind: sent})
        assert answer.status_code == 200, answer.text
        assert (answer.json()["beam_size"], answer.json()["lag"]) == (1, None)
        assert finished(client, answer.json()["id"])["status"] == "completed"


def test_the_same_seed_gives_the_same_video(client: TestClient) -> None:
    jobs = [create(client, seed=seed, preset="paper") for seed in (3, 3, 4)]
    assert all(finished(client, job["id"])["status"] == "completed" for job in jobs)
    first, again, other = (client.get(f"/v1/videos/{job['id']}/content").content for job in jobs)
    assert first == again != other


def test_a_list_comes_in_pages(client: TestClient, gate: Gate) -> None:
    gate.shut()
    names = [create(client)["id"] for _ in range(5)]
    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = client.get("/v1/videos", params={"limit": 2, **after}).json()
        assert page["object"] == "list"
        seen += [job["id"] for job in page["data"]]
        if not page["has_more"]:
            break
        assert page["last_id"] == seen[-1]
        after = {"after": page["last_id"]}
    assert seen == names[::-1]
    oldest = client.get("/v1/videos", params={"order": "asc", "limit": 1}).json()
    assert oldest["data"][0]["id"] == names[0]
    assert client.get("/v1/videos", params={"after": "video_" + "0" * 32}).status_code == 404


def test_deleting_what_waits_what_runs_and_what_is_done(client: TestClient, gate: Gate, service: Service) -> None:
    done = create(client)["id"]
    finished(client, done)
    gate.shut()
    running = create(client, seconds=1)["id"]
    until(lambda: "streamt1_chunks_total 5.0" in client.get("/metrics").text)  # four of the first, one of this one
    waiting = create(client)["id"]
    for name in (done, running, waiting):
        assert client.delete(f"/v1/videos/{name}").json() == {"id": name, "object": "video.deleted", "deleted": True}
        assert client.get(f"/v1/videos/{name}").status_code == 404
        assert client.delete(f"/v1/videos/{name}").status_code == 404
    gate.open()
    until(lambda: not service.queue.at_work())
    until(lambda: not list(service.queue.folder.iterdir()))  # once it is let go
    backbone: Any = service.presets.pipeline("pocket").models.backbone
    assert backbone.live == 0
    assert "streamt1_chunks_total 5.0" in client.get("/metrics").text


def test_a_run_that_fails_says_why_and_the_next_one_runs(client: TestClient, gate: Gate, service: Service) -> None:
    backbone: Any = service.presets.pipeline("pocket").models.backbone
    proper, backbone.wait = backbone.wait, lambda: 1 / 0
    job = finished(client, create(client)["id"])
    assert job["status"] == "failed"
    assert job["error"]["code"] == "server_error"
    assert "ZeroDivisionError" in job["error"]["message"]
    backbone.wait = proper
    assert client.get(f"/v1/videos/{job['id']}/content").status_code == 400
    assert finished(client, create(client)["id"])["status"] == "completed"
    assert [path.name for path in service.queue.folder.iterdir()] != [job["id"]]


def test_a_video_that_cannot_be_written_fails_and_leaves_nothing(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *runs: Run) -> None:
        raise OutputError(f"cannot write {path}: No space left on device")

    monkeypatch.setattr(run_folder, "write_sheet", full)
    job = finished(client, create(client)["id"])
    assert job["error"]["code"] == "OutputError"
    assert "No space left" in job["error"]["message"]
    until(lambda: not service.queue.at_work())
    assert not any(path.is_dir() for path in service.queue.folder.iterdir())


def test_a_full_disk_stops_nothing_for_good(
    client: TestClient, gate: Gate, full_disk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(troubles, "PAUSE", 0.05)
    with full_disk():
        assert client.post("/v1/videos", json=ORDER).status_code == 507
    assert client.get("/v1/videos").json()["data"] == []
    assert finished(client, create(client)["id"])["status"] == "completed"


def test_health_models_and_metrics(client: TestClient, gate: Gate) -> None:
    finished(client, create(client)["id"])
    gate.shut()
    create(client)
    create(client)
    until(lambda: client.get("/health").json()["running"] == 1)
    health = client.get("/health").json()
    assert health.pop("disk_free_bytes") > 0
    assert health == {
        "status": "ok", "workers": [{"device": "toy", "alive": True}], "running": 1, "waiting": 1,
    }  # fmt: skip
    models = client.get("/v1/models").json()
    assert [model["id"] for model in models["data"]] == ["pocket", "paper"]
    assert models["limits"]["waiting"] == 10
    text = client.get("/metrics").text
    for line in (
        'streamt1_jobs_total{outcome="completed"} 1.0',
        "streamt1_jobs_waiting 1.0",
        "streamt1_jobs_running 1.0",
    ):
        assert line in text
    assert "# TYPE streamt1_job_seconds histogram" in text


@pytest.mark.parametrize("path", ["index.html", "style.css", "live.js"])
def test_the_page_comes_from_the_package(client: TestClient, path: str) -> None:
    answer = client.get("/" if path == "index.html" else f"/page/{path}")
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "http://" not in answer.text
    assert "https://" not in answer.text
    for trick in ("../app.py", "..%2fapp.py", "__init__.py", "x.js"):
        assert client.get(f"/page/{trick}").status_code == 404


def test_nothing_is_kept_outside_the_data_folder(client: TestClient, tmp_path: Path) -> None:
    finished(client, create(client)["id"])
    assert {path.name for path in tmp_path.iterdir()} <= {
        "jobs.sqlite", "jobs.sqlite-journal", "jobs.sqlite.reserve", "videos",
    }  # fmt: skip


def test_pages_go_on_behind_a_video_that_was_deleted(client: TestClient, gate: Gate) -> None:
    gate.shut()
    names = [create(client, seed=seed)["id"] for seed in range(5)]
    first = client.get("/v1/videos", params={"limit": 2, "order": "asc"}).json()
    assert first["last_id"] == names[1]
    for name in names[:2]:
        client.delete(f"/v1/videos/{name}")
    for order, left in (("asc", names[2:]), ("desc", [])):
        page = client.get("/v1/videos", params={"after": names[1], "order": order}).json()
        assert [job["id"] for job in page["data"]] == left
    assert client.get("/v1/videos", params={"after": "video_" + "0" * 32}).status_code == 404


def test_head_tells_what_get_would(client: TestClient) -> None:
    name = finished(client, create(client)["id"])["id"]
    for path in ("/v1/videos", f"/v1/videos/{name}", f"/v1/videos/{name}/content", "/v1/models", "/health", "/metrics"):
        got, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == got.headers["content-type"]
        assert head.headers["content-length"] == got.headers["content-length"]
    assert client.head("/v1/videos/video_none").status_code == 404


def test_a_client_that_has_the_video_is_told_so(client: TestClient) -> None:
    path = f"/v1/videos/{finished(client, create(client)['id'])['id']}/content"
    tag = client.get(path).headers["etag"]
    for known in (tag, f'"other", W/{tag}', "*"):
        again = client.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_one_model(client: TestClient) -> None:
    listed = client.get("/v1/models").json()["data"]
    assert [client.get(f"/v1/models/{model['id']}").json() for model in listed] == listed
    missing = client.get("/v1/models/sora")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
