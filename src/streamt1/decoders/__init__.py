"""Latents to pixels, streaming: each chunk is decoded once, over the state of its own past."""
