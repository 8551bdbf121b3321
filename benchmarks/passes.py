"""What passes, commits and pages ask of a GPU, by counting; the same as `streamt1 bench passes`."""

from streamt1.cli.main import app

if __name__ == "__main__":
    app(["bench", "passes"])
