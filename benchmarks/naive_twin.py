"""The search against its slow twin; the same as `streamt1 bench naive_twin`."""

from streamt1.cli.main import app

if __name__ == "__main__":
    app(["bench", "naive_twin"])
