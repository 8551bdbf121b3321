"""A chunk at full size on a GPU; the same as `streamt1 bench gpu`."""

from streamt1.cli.main import app

if __name__ == "__main__":
    app(["bench", "gpu"])
