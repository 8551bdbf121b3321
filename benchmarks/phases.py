"""A search at full size without numbers, its peaks beside the memory plan; the same as `streamt1 bench phases`."""

from streamt1.cli.main import app

if __name__ == "__main__":
    app(["bench", "phases"])
