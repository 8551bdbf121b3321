"""The small model that ships in the package: a causal Wan transformer over the pocket world, and its text encoder."""
