"""What a search costs beyond its model calls; the same as `streamt1 bench overhead`."""

from streamt1.cli.main import app

if __name__ == "__main__":
    app(["bench", "overhead"])
