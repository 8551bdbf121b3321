"""Can the work of the chunk before be used again? The same as `streamt1 bench reuse`."""

from streamt1.cli.main import app

if __name__ == "__main__":
    app(["bench", "reuse"])
