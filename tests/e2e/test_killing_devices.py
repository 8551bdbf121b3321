"""Searches over several devices whose processes are killed, whose driver is, and whose network is cut."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from streamt1 import load_config
from streamt1.core.errors import StreamT1Warning
from streamt1.distributed.devices import _loaded, devices, one_by_one
from streamt1.distributed.seats import LinkLostError
from streamt1.families.build import build
from streamt1.search.engine import Engine
from streamt1.trace.events import ChunkStarted, Event
from tests.distributed.test_models import assert_same as assert_same_search
from tests.distributed.test_models import searched
from tests.e2e.test_killing import COMMANDS, PROMPT, SCENES, assert_same

pytest.importorskip("ray")
pytestmark = pytest.mark.slow
ACTORS, DRIVERS, CUT = 20, 10, 20
"""Kills of each, and seconds without a network."""


def test_devices_are_killed_at_random_moments() -> None:
    config, chance = one_by_one(load_config("pocket", {"device": "cpu"})), random.Random(1)
    with devices(config, 2) as models:
        fleet = models.backbone._fleet  # type: ignore[attr-defined]
        begin = time.monotonic()
        whole = searched(models, config.effective_search, PROMPT, 5)
        spent = time.monotonic() - begin
        while fleet.lost < ACTORS:
            kill = threading.Timer(chance.uniform(0, spent), os.kill, (chance.choice(living(fleet)), signal.SIGKILL))
            kill.start()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", StreamT1Warning)
                again = searched(models, config.effective_search, PROMPT, 5)
            kill.join()
            assert_same_search(whole, again)


def living(fleet: Any) -> list[int]:
    """Process ids of devices; one that was killed after a search's end is noticed by the next search."""
    found: list[int] = []
    for seat in fleet._seats:
        with suppress(LinkLostError):
            found.append(seat.link._host.call(os.getpid).result())
    return found


def held() -> list[str]:
    """The names of the models that this process has."""
    models = _loaded[0].models
    return [type(model).__name__ for model in (models.backbone, models.decoder, models.frame_reward)]


def test_a_reward_device_is_killed_and_replaced() -> None:
    config = one_by_one(load_config("pocket", {"device": "cpu", "placement.reward_devices": 1}))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = searched(build(config), config.effective_search, PROMPT, 4)
    torch.set_num_threads(threads)
    with devices(config, 3) as models:
        fleet, scorers = models.backbone._all  # type: ignore[attr-defined]
        assert_same_search(alone, searched(models, config.effective_search, PROMPT, 4))
        on_first, on_last = (seat.link._host.call(held).result() for seat in (fleet._seats[0], scorers._seats[0]))
        assert on_first == ["PocketBackbone", "PocketDecoder", "Elsewhere"]
        assert on_last == ["Elsewhere", "Elsewhere", "PocketFrameReward"]
        killed = scorers._seats[0].link._host.call(os.getpid).result()

        class Killing(type(alone[1])):
            def happened(self, event: Event) -> None:
                super().happened(event)
                if isinstance(event, ChunkStarted) and event.chunk == 2:
                    os.kill(killed, signal.SIGKILL)

        seen = Killing()
        with pytest.warns(StreamT1Warning, match="is lost"):
            result = Engine(models, config.effective_search, seen).run(PROMPT, 4, seed=5)
        assert_same_search(alone, (result, seen))
        assert (fleet.lost, scorers.lost, len(fleet), len(scorers)) == (0, 1, 2, 1)
        assert scorers._seats[0].link._host.call(held).result() == on_last


def generate(arguments: list[str], folder: Path, *before: str, **around: str) -> subprocess.Popen[bytes]:
    command = [*before, sys.executable, "-m", "streamt1", "generate", *arguments, "--out", str(folder)]
    with folder.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **around})


@pytest.mark.parametrize("name", ["Stream-T1", "scenes, cut, recall"])
def test_the_driver_is_killed_and_goes_on_with_other_devices(name: str, tmp_path: Path) -> None:
    chance, kills, rounds = random.Random(name), 0, 0
    begin = time.monotonic()
    assert generate([*COMMANDS[name], "--devices", "1"], tmp_path / "whole").wait() == 0
    spent = time.monotonic() - begin
    while kills < DRIVERS // 2:
        folder, rounds = tmp_path / f"parts{rounds}", rounds + 1
        for _ in range(20):
            process = generate([*COMMANDS[name], "--devices", chance.choice("124")], folder)
            try:
                code = process.wait(chance.uniform(0.4, 1.2) * spent)
            except subprocess.TimeoutExpired:
                process.kill()
                code, kills = process.wait(), kills + 1
            if code == 0:
                break
            assert code == -signal.SIGKILL, folder.with_suffix(".log").read_text()
        assert_same(folder, tmp_path / "whole")


def run(*command: str, **around: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=90, env={**os.environ, **around})


def processes_of(host: str) -> list[int]:
    """Those in a namespace."""
    told = subprocess.run(["ip", "netns", "pids", host], capture_output=True, text=True).stdout
    return [int(pid) for pid in told.split()]


def kill_all(host: str) -> None:
    """What a namespace runs, also what comes meanwhile in place of what was killed."""
    while there := processes_of(host):
        for pid in there:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


@pytest.fixture
def two_hosts():
    """Two network namespaces with a cable between them and a node of one Ray in each."""
    ray = str(Path(sys.executable).with_name("ray"))
    if os.geteuid() or not shutil.which("ip"):
        pytest.skip("needs root, and ip")
    hosts, around = (
        ("streamt1a", "streamt1b"),
        {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONFAULTHANDLER": "1"},
    )
    run(ray, "get-auth-token", "--generate")
    try:
        for host in hosts:
            run("ip", "netns", "add", host)
        run("ip", "link", "add", "st1a", "type", "veth", "peer", "name", "st1b")
        for number, host in enumerate(hosts, 1):
            cable = f"st1{host[-1]}"
            run("ip", "link", "set", cable, "netns", host)
            run("ip", "netns", "exec", host, "ip", "addr", "add", f"10.91.0.{number}/24", "dev", cable)
            for one in ("lo", cable):
                run("ip", "netns", "exec", host, "ip", "link", "set", one, "up")
        usual = ["--num-cpus", "1", "--object-store-memory", "200000000"]
        head = ["--head", "--port", "6379", "--include-dashboard", "false", "--node-ip-address", "10.91.0.1"]
        other = ["--address", "10.91.0.1:6379", "--node-ip-address", "10.91.0.2"]
        for host, role in zip(hosts, (head, other)):
            run("ip", "netns", "exec", host, ray, "start", *role, *usual, **around)
        yield hosts, around
    finally:
        for host in hosts:  # `ray stop` would end every Ray of this machine
            kill_all(host)
            subprocess.run(["ip", "netns", "del", host], capture_output=True)


@pytest.mark.parametrize("cut", [False, True], ids=["a cable", "a cable that is cut"])
def test_two_hosts(two_hosts: tuple[tuple[str, str], dict[str, str]], cut: bool, tmp_path: Path) -> None:
    (first, second), around = two_hosts
    assert generate([*SCENES, "--devices", "1"], tmp_path / "whole").wait() == 0
    across = generate([*SCENES, "--ray", "10.91.0.1:6379"], tmp_path / "across", "ip", "netns", "exec", first, **around)
    log = tmp_path / "across.log"
    until = time.monotonic() + 120
    while cut and "chunk 2/" not in log.read_text() and time.monotonic() < until:
        time.sleep(0.1)
    for state in ("down", "up") if cut else ():
        run("ip", "netns", "exec", second, "ip", "link", "set", "st1b", state)
        time.sleep(CUT if state == "down" else 0)
    assert ended(across) == 0, log.read_text()
    assert_same(tmp_path / "across", tmp_path / "whole")


def ended(process: subprocess.Popen[bytes]) -> int:
    """Its exit code; one that hangs leaves its threads' stacks in its log."""
    try:
        return process.wait(300)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        return process.wait(30)
