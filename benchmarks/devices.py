"""How far more devices carry one search; the same as `streamt1 bench devices`, to which arguments go."""

import sys

from streamt1.cli.main import app

if __name__ == "__main__":
    app(["bench", "devices", *sys.argv[1:]])
