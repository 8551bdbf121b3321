"""What a client asks for: read strictly, and checked against everything that is known before it runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streamt1.assemble.asking import check_words, parse_budget
from streamt1.assemble.config import RunConfig
from streamt1.core.errors import ConfigError, PromptError, UnknownNameError
from streamt1.search.policies import apply_policy
from streamt1.search.width import check_budget
from streamt1.server.limits import Limits
from streamt1.server.studio import Studio


class VideoRequest(BaseModel):
    """The fields of OpenAI's Videos API, and after them those of the search.

    Attributes:
        model, preset: two names for the same: one of the presets that are served; the first of them by default.
        seconds: length of the video; the number of chunks that comes nearest is made.
        size: ``WIDTHxHEIGHT``; a model has one size, so this can only confirm it.
        policy, beam_size, top_k, lag: see ``SearchConfig``; the preset's own by default.
        seed: the same request with the same seed gives the same video.
        budget: most model passes (200) or seconds (``60s``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str
    model: str | None = None
    seconds: float = Field(default=4.0, gt=0, allow_inf_nan=False)
    size: str | None = None
    preset: str | None = None
    policy: str | None = None
    beam_size: int | None = Field(default=None, ge=1)
    top_k: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**63)
    lag: int | None = Field(default=None, ge=0)
    budget: str | None = Field(default=None, coerce_numbers_to_str=True, max_length=32)


class FieldError(ConfigError):
    """A field of a request has a value that does not fit; ``field`` is its name."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


@dataclass(frozen=True)
class Order:
    """A request that can be run.

    Attributes:
        preset: the preset that is meant.
        chunks: length.
        size: ``WIDTHxHEIGHT`` of the video.
    """

    request: VideoRequest
    preset: str
    chunks: int
    size: str


def read_request(keys: Any) -> VideoRequest:
    """Raises ``ConfigError``: an unknown field, or a value of the wrong type."""
    if not isinstance(keys, Mapping):
        raise ConfigError("a request is an object of fields, at least {'prompt': ...}")
    if keys.get("input_reference") is not None:
        raise FieldError("input_reference", "not supported yet: these models start from text alone")
    for name in keys:
        if name not in VideoRequest.model_fields and name != "input_reference":
            raise UnknownNameError("field", str(name)[:60], VideoRequest.model_fields)
    try:
        return VideoRequest.model_validate({k: v for k, v in keys.items() if k != "input_reference"})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise FieldError(".".join(str(part) for part in first["loc"]), first["msg"]) from error


def configured(base: RunConfig, request: VideoRequest) -> RunConfig:
    """A preset with the search that a request asks for. Raises ``ConfigError``."""
    named = {"beam_size": request.beam_size, "top_k": request.top_k, "lag": request.lag}
    settings = {key: value for key, value in named.items() if value is not None}
    settings |= parse_budget(request.budget) if request.budget is not None else {}
    search, policy = dataclasses.replace(base.search, **settings), request.policy or base.policy
    apply_policy(policy, search)
    return base.model_copy(update={"search": search, "policy": policy})


def take_order(keys: Any, studio: Studio, limits: Limits) -> Order:
    """Reads and checks a request.

    Raises:
        ConfigError, PromptError: with one sentence that names what to change.
    """
    request = read_request(keys)
    limits.check_prompt(request.prompt)
    limits.check_seconds(request.seconds)
    preset = _preset(request, studio)
    config = configured(studio.config(preset), request)
    limits.check_width(config.search.beam_size, config.search.top_k)
    try:
        check_words(config, request.prompt)
    except PromptError as error:
        raise PromptError(f"prompt: {error}") from error
    served = studio.served[preset]
    if request.size not in (None, served.size):
        raise FieldError("size", f"{preset} makes {served.size}, not {request.size!r}")
    chunks = studio.pipeline(preset).chunks_for(request.seconds)
    check_budget(config.search.budget_passes, chunks, studio.pipeline(preset).world.backbone.passes_per_proposal)
    return Order(request, preset, chunks, served.size)


def _preset(request: VideoRequest, studio: Studio) -> str:
    names = [name for name in (request.preset, request.model) if name is not None]
    if len(set(names)) > 1:
        raise FieldError("preset", f"model={request.model!r} and preset={request.preset!r} mean the same; give one")
    name = names[0] if names else next(iter(studio.served))
    if name not in studio.served:
        raise UnknownNameError("preset" if request.preset else "model", name[:60], studio.served)
    return name
