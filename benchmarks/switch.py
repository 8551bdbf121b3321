"""What new scenes cost; the same as `streamt1 bench switch`."""

from streamt1.cli.main import app

if __name__ == "__main__":
    app(["bench", "switch"])
