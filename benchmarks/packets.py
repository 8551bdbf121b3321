"""Memory that travels: four bits, packets, and when shipping pays; the same as `streamt1 bench packets`."""

from streamt1.cli.main import app

if __name__ == "__main__":
    app(["bench", "packets"])
