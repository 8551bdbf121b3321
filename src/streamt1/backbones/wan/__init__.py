"""The causal Wan2.1 diffusion transformer (LongLive, Self-Forcing, Reward Forcing, and pocket)."""
