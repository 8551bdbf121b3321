"""A branch of a Wan transformer's memory as a snapshot, and back.

The prompt goes along as its cross-attention keys and values: a text would have to be encoded again, by an encoder of
gigabytes, and on another machine perhaps to other bits. A later prompt is encoded where the branch is by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from streamt1.backbones.wan.branch import Past, WanBranch, WanPrompt
from streamt1.backbones.wan.model import TextContext, WanModel
from streamt1.core.errors import CheckpointError
from streamt1.core.identity import weights_id
from streamt1.core.snapshot import Snapshot
from streamt1.core.types import Route
from streamt1.core.weights import one_line
from streamt1.memory.branch import MemoryConfig
from streamt1.memory.pages import Page
from streamt1.memory.portable import DAMAGED, branch_of, check_rules, tensors_of, told_rules

KIND = "wan"


def told_model(model: WanModel, chunk_shape: Sequence[int]) -> dict[str, Any]:
    """What a memory is good for: one model's weights, in one dtype, and one size of latents ``(F, C, H, W)``."""
    return {
        **asdict(model.config),
        "chunk_shape": chunk_shape,
        "dtype": str(model.patch_embedding.weight.dtype).removeprefix("torch."),
        "weights": weights_id(model.state_dict()),
    }


def dumped(branch: WanBranch, model: dict[str, Any], config: MemoryConfig) -> Snapshot:
    """The snapshot of a branch.

    Args:
        model: see ``told_model``.

    Raises:
        CheckpointError: the branch holds NaN or infinite values.
    """
    tensors, told = _held(branch)
    routes = [route and route.value for _, route in branch.past]
    metadata = {"model": model, "rules": told_rules(config), "memory": told, "past": routes}
    prompts = {"prompt": branch.prompt.id, "then": branch.then and branch.then.id}
    return Snapshot(KIND, tensors, {**metadata, **prompts, "given": branch.given})


def weight_of(branch: WanBranch) -> int:
    """Bytes of the tensors of a branch's snapshot; nothing is copied."""
    return sum(tensor.nbytes for tensor in _held(branch)[0].values())


def _held(branch: WanBranch) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a branch by name, where they are, and what is told of its memory."""
    tensors, told = tensors_of(branch.memory)
    for name, prompt in (("text", branch.prompt), ("then", branch.then)):
        for layer, text in enumerate(prompt.text if prompt else ()):
            tensors |= {f"{name}.{layer}.{part}": value for part, value in zip(("keys", "values"), text)}
    tensors |= {f"past.{i}": latents for i, (latents, _) in enumerate(branch.past)}
    return tensors if branch.held is None else {**tensors, "held": branch.held}, told


def loaded(snapshot: Snapshot, model: WanModel, chunk_shape: tuple[int, ...], config: MemoryConfig) -> WanBranch:
    """The branch of a snapshot, on the host; its memory holds nothing yet.

    Raises:
        CheckpointError: the snapshot is of another backbone, model or memory, or it is not what ``dumped`` makes.
    """
    if snapshot.kind != KIND:
        raise CheckpointError(
            f"the {snapshot.words.noun} is of a {snapshot.kind[:20]!r} backbone, not of {KIND!r}: load it into one"
        )
    snapshot.check_same("model", told_model(model, chunk_shape), "by another model", "load it into the one it names")
    check_rules(snapshot, config)
    frames, _, height, width = chunk_shape
    rows, columns = model.config.grid(height, width)
    shape = model.config.num_layers, frames * rows * columns, model.config.num_heads, model.config.head_dim
    dtype = model.patch_embedding.weight.dtype
    try:
        memory = branch_of(snapshot, snapshot.metadata["memory"], config, shape, (dtype, torch.float32))
        prompt = WanPrompt(str(snapshot.metadata["prompt"]), _text(snapshot, "text", shape, dtype))
        then = snapshot.metadata.get("then")
        later = None if then is None else WanPrompt(str(then), _text(snapshot, "then", shape, dtype))
        past, held = _past(snapshot, chunk_shape), snapshot.tensor("held") if "held" in snapshot.tensors else None
        given = snapshot.metadata.get("given", 0)
        if type(given) is not int or not 0 <= given <= memory.chunks:
            raise ValueError("more chunks were given than there are")
        if held is not None and (held.dim() != 4 or not 0 < len(held) <= frames or held.shape[1:] != chunk_shape[1:]):
            raise ValueError("held frames of another shape")
        if len(past) != min(memory.chunks - memory.since, config.window // config.chunk):
            raise ValueError("chunks are missing")
    except DAMAGED as error:
        raise CheckpointError(
            f"the {snapshot.words.noun} is not what a backbone dumps ({type(error).__name__}:"
            f" {one_line(error)[:80]}); {snapshot.words.again}"
        ) from error
    return WanBranch(prompt, memory, past, later, given, held)


def with_model(branch: WanBranch, device: torch.device) -> WanBranch:
    """The branch with its prompt and its past where the model is, as ``denoise`` leaves them; pages stay."""
    past = tuple((latents.to(device), route) for latents, route in branch.past)
    then = None if branch.then is None else branch.then.to(device)
    held = None if branch.held is None else branch.held.to(device)
    return WanBranch(branch.prompt.to(device), branch.memory, past, then, branch.given, held)


def brought(page: Page, home: torch.device, device: torch.device) -> Page:
    """A page of the host where pages are kept; in locked memory where the model is on a GPU and they are not.

    Args:
        device: of the model.
    """
    return page if home.type == device.type == "cpu" else page.brought(home, device.type == "cuda")


def _text(snapshot: Snapshot, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> TextContext:
    """Each ``[1, text_len, heads, head_dim]``; ``shape`` is that of a page."""
    layers, _, *heads = shape
    found = [(snapshot.tensor(f"{name}.{i}.keys"), snapshot.tensor(f"{name}.{i}.values")) for i in range(layers)]
    words = found[0][0].shape[1]
    if any(part.shape != (1, words, *heads) or part.dtype != dtype for pair in found for part in pair):
        raise ValueError("a prompt of another shape")
    return found


def _past(snapshot: Snapshot, chunk_shape: tuple[int, ...]) -> Past:
    routes = snapshot.metadata["past"]
    latents = [snapshot.tensor(f"past.{i}") for i in range(len(routes))]
    if any(part.shape != chunk_shape or not part.is_floating_point() for part in latents):
        raise ValueError("latents of another shape")
    return tuple(zip(latents, (route and Route(route) for route in routes)))
