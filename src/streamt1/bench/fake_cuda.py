"""A CUDA device without one: torch's fake tensors, and a count of what a GPU would be asked to do and to hold.

Shapes, devices and dtypes are real, numbers are not. What is counted is exact for the calls of torch that are made;
what a kernel allocates inside itself, and what the allocator rounds up, is not seen.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar, cast
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from streamt1.core import identity
from streamt1.core.errors import ConfigError
from streamt1.memory import codecs

M = TypeVar("M", bound=nn.Module)
CUDA = torch.device("cuda", 0)
GUARD = """
#include <c10/core/impl/DeviceGuardImplInterface.h>
namespace c10 { namespace impl {
C10_REGISTER_GUARD_IMPL(CUDA, c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA>)
}}
"""
"""What a CPU build of torch lacks to carry CUDA tensors around: a guard that guards nothing."""
MATRIX = ("mm", "addmm", "bmm", "baddbmm", "_addmm_activation", "convolution")
SYNCS = ("_local_scalar_dense", "nonzero", "masked_select", "unique_dim", "_unique2")
"""Calls that make the host wait for the device, beside copies to pageable memory."""


@cache
def prepare() -> None:
    """Lets a CPU build of torch make fake CUDA tensors; does nothing where torch is built with CUDA.

    Raises ``ConfigError`` where there is no C++ compiler.
    """
    if torch.version.cuda is not None:
        return
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise ConfigError("counting for a GPU needs a C++ compiler where torch is built without CUDA: install g++")
    root = Path(torch.__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "guard.cpp", Path(folder) / "guard.so"
        source.write_text(GUARD)
        command = [compiler, "-std=c++20", "-shared", "-fPIC", str(source), "-o", str(library)]
        done = subprocess.run(
            [*command, f"-I{root / 'include'}", f"-L{root / 'lib'}", "-lc10"], capture_output=True, text=True
        )
        if done.returncode:
            raise ConfigError(f"cannot compile what fake CUDA tensors need: {done.stderr.strip().splitlines()[0]}")
        ctypes.CDLL(str(library))


@dataclass
class Work:
    """What was asked of the device between two moments. Bytes are read plus written.

    Attributes:
        kernels: calls that start one, views and allocations left out.
        matrix_bytes, attention_bytes, elementwise_bytes: by kind; all else that is no copy counts as elementwise.
        to_device, to_host: bytes copied over the bus.
        syncs: calls that make the host wait.
        calls: of each operator.
        bytes: of each operator.
    """

    kernels: int = 0
    matrix_bytes: int = 0
    attention_bytes: int = 0
    elementwise_bytes: int = 0
    to_device: int = 0
    to_host: int = 0
    syncs: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)


class Device(TorchDispatchMode):
    """Sees every call of torch within its block, and how much memory is alive on each device.

    Attributes:
        work: since the last ``begin``.
        live, peak: bytes alive now, and the most since the last ``begin``, by type of device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.work = Work()
        self.live: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self._known: dict[int, Any] = {}

    def begin(self) -> Work:
        """Starts counting anew; what is alive stays so."""
        self.work, self.peak = Work(), Counter(self.live)
        return self.work

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Passes the call on, and counts it."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        read = {name: value for name, value in kwargs.items() if name != "out"}
        given = [leaf for leaf in tree_leaves((args, read)) if isinstance(leaf, Tensor)]
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        fresh = [self._hold(tensor) for tensor in made]
        self._count(func, given, made, any(fresh))
        return out

    def _hold(self, tensor: Tensor) -> bool:
        """Whether the tensor's memory is new; it counts as alive until it is freed."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return False
        size, kind = storage.nbytes(), tensor.device.type

        def freed(_: Any) -> None:
            self._known.pop(key, None)
            self.live[kind] -= size

        self._known[key] = weakref.ref(storage, freed)
        self.live[kind] += size
        self.peak[kind] = max(self.peak[kind], self.live[kind])
        return True

    def _count(self, func: Any, given: list[Tensor], made: list[Tensor], fresh: bool) -> None:
        name, writes = func.overloadpacket.__name__, func._schema.is_mutable
        places = {tensor.device.type for tensor in (*given, *made)}
        if "cuda" not in places:
            return
        if name in SYNCS:
            self.work.syncs += 1
        if not (fresh or writes) or name.startswith(("empty", "new_empty", "detach")):
            return  # a view, or room alone
        self.work.kernels += 1
        self.work.calls[name] += 1
        if "cpu" in places and name in ("_to_copy", "copy_"):
            source, target = (given[0], made[0]) if name == "_to_copy" else (given[1], given[0])
            self._copied(source, target)
            return
        size = sum(map(_touched, given)) + sum(map(_touched, made))
        self.work.bytes[name] += size
        if name in MATRIX:
            self.work.matrix_bytes += size
        elif "attention" in name:
            self.work.attention_bytes += size
        else:
            self.work.elementwise_bytes += size

    def _copied(self, source: Tensor, target: Tensor) -> None:
        if target.device.type == "cuda":
            self.work.to_device += _touched(target)
            return
        self.work.to_host += _touched(source)
        self.work.syncs += 1


def _touched(tensor: Tensor) -> int:
    """Bytes that a kernel reads or writes of a tensor: what is repeated by stride 0 comes from the cache."""
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride()):
        count *= size if stride else 1
    return count * tensor.element_size()


def placed(model: M, dtype: torch.dtype, device: torch.device = CUDA) -> M:
    """The same model with weights and buffers of a dtype on a device; mutates. ``Module.to`` can't move fake tensors.

    Buffers of whole numbers keep their dtype.
    """
    known: dict[int, Tensor] = {}
    for part in model.modules():
        for held in cast("tuple[dict[str, Any], ...]", (part._parameters, part._buffers)):
            for name, old in held.items():
                if old is not None and id(old) not in known:
                    kind = dtype if old.is_floating_point() else old.dtype
                    new = torch.empty(old.shape, dtype=kind, device=device)
                    known[id(old)] = nn.Parameter(new, requires_grad=False) if isinstance(old, nn.Parameter) else new
                if old is not None:
                    held[name] = known[id(old)]
    return model.eval()


@contextmanager
def fake_cuda() -> Iterator[Device]:
    """Within the block tensors are fake, on any device, ``cuda`` among them; yields what counts them.

    They hold no bytes, so names by content (``core.identity``) become numbers.

    Raises ``ConfigError`` where torch can't be made to.
    """
    prepare()
    numbers = count()

    def name_of(tensor: Tensor) -> bytes:
        return f"{tuple(tensor.cpu().shape)} {next(numbers)}".encode()

    stand_ins = (
        mock.patch.object(identity, "_bytes", name_of),
        mock.patch.object(F, "scaled_dot_product_attention", partial(_fused_attention, F.scaled_dot_product_attention)),
        mock.patch.object(codecs, "on_device", codecs.on_device.__wrapped__),  # none is remembered that is fake
    )
    with stand_ins[0], stand_ins[1], stand_ins[2], FakeTensorMode(allow_non_fake_inputs=True), Device() as device:
        yield device


def _fused_attention(plain: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, **told: Any) -> Tensor:
    """What torch does on a GPU: one kernel, where without one it counts attention by its formula."""
    if q.device.type != "cuda" or q.dtype not in (torch.bfloat16, torch.float16) or told.get("attn_mask") is not None:
        return plain(q, k, v, **told)
    causal, scale = told.get("is_causal", False), told.get("scale")
    return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, causal, scale=scale)[0]
