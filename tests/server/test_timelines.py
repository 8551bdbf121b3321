"""Videos of several scenes, asked for over HTTP."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from streamt1.server.service import Service
from tests.server.toy import until

BALL, STAR = "a red circle bouncing on a navy striped background", "a green star sliding on a teal plain background"


def test_a_timeline_is_made(client: TestClient, service: Service) -> None:
    scenes = [{"prompt": BALL, "seconds": 0.25}, {"prompt": STAR, "chunks": 3, "memory": "cut"}, [BALL, 0.125]]
    job = client.post("/v1/videos", json={"timeline": scenes}).json()
    assert (job["prompt"], job["chunks"], job["seconds"]) == (BALL, 9, "0.562")
    assert [scene["chunks"] for scene in job["timeline"]] == [4, 3, 2]
    until(lambda: client.get(f"/v1/videos/{job['id']}").json()["status"] == "completed")
    folder = service.queue.folder_of(service.queue.get(job["id"]))
    summary = json.loads((folder / "run.json").read_text())
    assert [scene["prompt"] for scene in summary["timeline"]] == [BALL, STAR, BALL]
    assert '"scene_started"' in (folder / "trace.jsonl").read_text()
    shared = client.post("/v1/videos", json={"timeline": [{"prompt": BALL}, {"prompt": STAR}], "seconds": 1}).json()
    assert [scene["chunks"] for scene in shared["timeline"]] == [8, 8]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"timeline": [{"prompt": BALL}], "prompt": BALL}, "leave out prompt"),
        ({"timeline": []}, "no scene"),
        ({"timeline": [{"prompt": BALL, "seconds": 0.2}, {"prompt": "a zebra"}]}, "scene 2: .*zebra"),
        ({"timeline": [{"prompt": BALL, "seconds": 0.2}, {"prompt": STAR, "seconds": -1}]}, "scene 2 .*above 0"),
        ({"timeline": [{"prompt": BALL, "seconds": 500}]}, "too long"),
        ({"timeline": [["a", 1]] * 1200}, "1200 scenes"),
        ({"timeline": {"prompt": BALL}}, "timeline"),
        ({"prompt": BALL, "endless": True, "seconds": 1}, "has no length"),
        ({}, "prompt: Field required"),
    ],
)
def test_what_is_wrong_is_said(client: TestClient, fields: dict[str, Any], says: str) -> None:
    answer = client.post("/v1/videos", json=fields)
    assert answer.status_code == 400
    message = answer.json()["error"]["message"]

    assert re.search(says, message), message
