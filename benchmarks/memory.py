"""KV bytes against the arithmetic of shared pages; the same as `streamt1 bench memory`."""

from streamt1.cli.main import app

if __name__ == "__main__":
    app(["bench", "memory"])
