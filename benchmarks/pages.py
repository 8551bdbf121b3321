"""Pages in fewer bits: loss, drift, survivors, seconds, peak and beams; the same as `streamt1 bench pages`."""

from streamt1.cli.main import app

if __name__ == "__main__":
    app(["bench", "pages"])
