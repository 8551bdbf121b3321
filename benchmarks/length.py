"""Memory by chunk of a long run, and the cost of its checkpoints; the same as `streamt1 bench length`."""

from streamt1.cli.main import app

if __name__ == "__main__":
    app(["bench", "length"])
