"""One stream of typed events: what a search did and why. Progress, reports and replay read this and nothing else."""
