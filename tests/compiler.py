"""Fake CUDA tensors need a C++ compiler where torch is built without CUDA."""

import shutil

import pytest
import torch

needs_compiler = pytest.mark.skipif(
    torch.version.cuda is None and not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler"
)
