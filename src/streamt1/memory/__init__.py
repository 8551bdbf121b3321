"""Branching key/value memory: immutable chunk pages that beams share (paper section 3.4, SPEC section 5)."""

from streamt1.memory.branch import Branch, BranchingMemory, Eviction, MemoryConfig
from streamt1.memory.device_pages import DevicePages
from streamt1.memory.pages import Page, PagePool

__all__ = ["Branch", "BranchingMemory", "DevicePages", "Eviction", "MemoryConfig", "Page", "PagePool"]
