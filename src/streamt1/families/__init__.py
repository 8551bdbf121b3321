"""Families of models: each says how its parts are built, which prompts it reads, and what it needs of memory."""
