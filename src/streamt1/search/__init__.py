"""The method, pure: noise propagation, reward pruning, memory sinking, and the loop that joins them.

Nothing here knows a model, a cache, a reward or a decoder; they enter through ``streamt1.core.protocols``.
"""
