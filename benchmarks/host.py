"""The host's work on a chunk's frames; the same as `streamt1 bench host`."""

from streamt1.cli.main import app

if __name__ == "__main__":
    app(["bench", "host"])
