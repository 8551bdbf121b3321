"""Which heads can do without the past? The same as `streamt1 bench heads`."""

from streamt1.cli.main import app

if __name__ == "__main__":
    app(["bench", "heads"])
