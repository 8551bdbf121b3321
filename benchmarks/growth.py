"""Chunks late in a long video against early ones; the same as `streamt1 bench growth`."""

from streamt1.cli.main import app

if __name__ == "__main__":
    app(["bench", "growth"])
