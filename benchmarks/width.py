"""One more candidate against the first; the same as `streamt1 bench width`."""

from streamt1.cli.main import app

if __name__ == "__main__":
    app(["bench", "width"])
