"""What docs/serving.md says can be done."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from streamt1.cli.main import app
from streamt1.cli.serve import serve
from streamt1.evaluation.suites import load_suite
from streamt1.server.schemas import VideoRequest, read_request
from streamt1.trace.events import EVENTS

PAGE = (Path(__file__).parents[2] / "docs/serving.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_python_blocks_compile_and_their_requests_are_read() -> None:
    for code in blocks("python"):
        compile(code, "docs/serving.md", "exec")
    request: dict[str, Any] = {}
    exec(blocks("python")[1].split("with connect")[0].replace("from websockets", "# from websockets"), request)
    assert read_request(request["request"]).lag == 1


def test_the_curl_line_s_request_is_taken(client: TestClient) -> None:
    body = re.search(r"-d '(\{.*?\})'", PAGE)
    assert body
    assert client.post("/v1/videos", json={**json.loads(body[1]), "seconds": "1"}).status_code == 200


def test_the_suite_of_lags_is_one() -> None:
    named = re.search(r"streamt1 evaluate (\S+) --out", PAGE)
    assert named
    suite = load_suite(named[1])
    assert [suite.method(name).search for name in suite.ablations] == [{"lag": lag} for lag in (0, 1, 2, 4)]


@pytest.mark.parametrize("name", [*EVENTS, *VideoRequest.model_fields])
def test_every_event_and_field_is_named(name: str) -> None:
    assert f"`{name}`" in PAGE


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", PAGE):
        assert (Path(__file__).parents[2] / "docs" / target).exists(), target


def test_the_unit_s_keys_are_read_where_they_lie() -> None:
    """A copy would not change with the file."""
    unit = (Path(__file__).parents[2] / "docs/deploy/streamt1.service").read_text()
    settings = [line for line in unit.splitlines() if not line.startswith("#")]
    assert not [line for line in settings if line.startswith(("LoadCredential", "SetCredential"))]
    assert "--keys /etc/" in unit


@pytest.mark.parametrize("name", ["streamt1.service", "Dockerfile", "README.md"])
def test_options_of_the_deployment_are_there(name: str) -> None:
    text = (Path(__file__).parents[2] / "docs/deploy" / name).read_text()
    command = next(one for one in app.registered_commands if one.callback is serve)
    known = {"--" + word.replace("_", "-") for word in inspect.signature(command.callback or serve).parameters}
    named = set(re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*", text.partition("ExecStart")[2] or text))
    others = {
        "--now",
        "--group-add",
        "--init",
        "--no-cache-dir",
        "--create-home",
        "--chown",
        "--interval",
        "--start-period",
    }
    assert named - others <= known, named - others - known
    assert named & known
