"""The server's packages are optional."""

from __future__ import annotations

import subprocess
import sys


def test_without_the_extra_the_command_says_what_to_install() -> None:
    code = "import sys; sys.modules['fastapi'] = None; from streamt1.cli.main import app; app(['serve'])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "pip install 'streamt1[serve]'" in ended.stderr
    assert "Traceback" not in ended.stderr
