"""Rewards on devices of their own against devices all alike; the same as `streamt1 bench reward_devices`."""

import sys

from streamt1.cli.main import app

if __name__ == "__main__":
    app(["bench", "reward_devices", *sys.argv[1:]])
