"""What cheaper searches keep of the gain; the same as `streamt1 bench cheaper`."""

from streamt1.cli.main import app

if __name__ == "__main__":
    app(["bench", "cheaper"])
