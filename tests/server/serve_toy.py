"""``python -m tests.server.serve_toy FOLDER PORT``: a server over the toy, which rests while FOLDER/hold is there."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from streamt1.server.app import door_at, listen
from streamt1.server.limits import Limits
from tests.server.toy import toy_presets


def main(folder: Path, port: int) -> None:
    def wait() -> None:
        while (folder / "hold").exists():
            time.sleep(0.02)

    with door_at("127.0.0.1", port) as door:
        listen([toy_presets(wait)], folder, Limits(), None, "127.0.0.1", door)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
