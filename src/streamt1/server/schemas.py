"""What clients send and get: a request, read strictly and checked before it runs, and the job that it becomes."""

from __future__ import annotations

import dataclasses
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, TypeGuard

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streamt1.config.load import parse_budget
from streamt1.config.schema import RunConfig
from streamt1.config.timelines import told_scenes
from streamt1.core.errors import ConfigError, PromptError, UnknownNameError, UnknownVideoError
from streamt1.core.timeline import Scene, Timeline
from streamt1.families.build import check_prompt
from streamt1.pipeline.given import given_chunks
from streamt1.pipeline.pipeline import Pipeline
from streamt1.pipeline.timelines import resolved
from streamt1.search.config import apply_policy, check_endless, for_endless
from streamt1.search.width import check_budget
from streamt1.server.limits import Limits
from streamt1.server.models import LoadedPresets


class VideoRequest(BaseModel):
    """The fields of OpenAI's Videos API, and after them those of the search.

    Attributes:
        model, preset: two names for the same: one of the presets that are served; the first of them by default.
        seconds: length of the video; the number of chunks that comes nearest is made.
        size: ``WIDTHxHEIGHT``; a model has one size, so this can only confirm it.
        policy, beam_size, top_k, lag: see ``SearchConfig``; the preset's own by default. In a request that is checked
            they are what the search will use; greedy, which is one sample, has none but the policy.
        seed: the same request with the same seed gives the same video.
        budget: most model passes (200) or seconds (``60s``).
        timeline: scenes in place of a prompt, each with ``prompt``, ``seconds`` or ``chunks``, and ``memory``.
        endless: goes on until it is told to end, at most as long as the server allows.
        devices: how many of the server's devices make it; the video is the same. None: as the server was started.
        input_reference: a digest of the picture that the video begins with; clients send the picture.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = ""
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
    timeline: list[Any] | None = None
    endless: bool = False
    devices: int | None = Field(default=None, ge=1)
    input_reference: str | None = None


class FieldError(ConfigError):
    """A field of a request has a value that does not fit; ``field`` is its name."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message if message.startswith(field) else f"{field}: {message}")
        self.field, self._message = field, message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.field, self._message)


@contextmanager
def about(field: str) -> Iterator[None]:
    """What is refused inside is about a field of the request: a ``ConfigError`` becomes a ``FieldError``."""
    try:
        yield
    except (FieldError, UnknownNameError):
        raise
    except ConfigError as error:
        raise FieldError(field, str(error)) from error


@dataclass(frozen=True)
class CheckedRequest:
    """A request that can be run.

    Attributes:
        fields: as the client gave them, and the search that they leave to the preset.
        preset: the preset that is meant.
        chunks: length, with what is given; the most of a stream without an end.
        size: ``WIDTHxHEIGHT`` of the video.
        picture: the file that the video begins with, of a request that has just come.
        owner: name of the key that asked; None for the operator's, and where there are none.
    """

    fields: VideoRequest
    preset: str
    chunks: int
    size: str
    picture: bytes | None = None
    owner: str | None = None


Status = Literal["queued", "in_progress", "completed", "failed", "cancelled"]
_ID = re.compile(r"video_[0-9a-f]{32}")
ID_GLOB, ID_LENGTH = "video_" + 32 * "[0-9a-f]", 38
"""The same for SQLite."""


@dataclass(frozen=True)
class Job:
    """One video that was asked for.

    Attributes:
        stream: whether it was asked for on a socket.
        progress: percent.
        attempts: how often it has been begun.
        created_at, completed_at: seconds since 1970.
        error: a code and a sentence, for failed and cancelled jobs.
        expires_at: when it will be deleted, seconds since 1970; None where that is not known, or never.
    """

    id: str
    request: CheckedRequest
    stream: bool
    created_at: int
    status: Status = "queued"
    progress: int = 0
    attempts: int = 0
    completed_at: int | None = None
    error: tuple[str, str] | None = None
    expires_at: int | None = None

    def deleted(self) -> Job:
        """The job as whoever listened to it hears of it last."""
        return dataclasses.replace(self, status="cancelled", error=("deleted", "the video was deleted"))

    def record(self) -> dict[str, Any]:
        """The job in the shape of OpenAI's ``Video``, with the search's own fields after it."""
        fields = self.request.fields
        return {
            "id": self.id,
            "object": "video",
            "model": self.request.preset,
            "status": self.status,
            "progress": self.progress,
            "created_at": self.created_at,
            "completed_at": self.completed_at,
            "expires_at": self.expires_at,
            "error": {"code": self.error[0], "message": self.error[1]} if self.error else None,
            "prompt": fields.prompt,
            "seconds": f"{fields.seconds if self.request.chunks else 0:g}",
            "size": self.request.size,
            "remixed_from_video_id": None,
            "preset": self.request.preset,
            "chunks": self.request.chunks,
            "timeline": fields.timeline,
            "stream": self.stream,
            **fields.model_dump(
                include={"policy", "beam_size", "top_k", "seed", "lag", "budget", "endless", "devices"}
            ),
        }


def new_id() -> str:
    """A name that cannot be guessed."""
    return f"video_{secrets.token_hex(16)}"


def is_id(text: object) -> TypeGuard[str]:
    """Whether a text can be a job's name; what is not never meets the disk."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def checked_id(name: str) -> str:
    """The name of a job. Raises ``UnknownVideoError`` for what can be none."""
    if not is_id(name):
        raise UnknownVideoError(f"there is no video {name[:60]!r}")
    return name


def read_request(keys: Any) -> VideoRequest:
    """Raises ``ConfigError``: an unknown field, or a value of the wrong type."""
    if not isinstance(keys, Mapping):
        raise ConfigError("a request is an object of fields, at least {'prompt': ...}")
    picture = keys.get("input_reference")
    if picture is not None and not isinstance(picture, bytes):
        raise FieldError("input_reference", "send the picture as a file of a form (multipart/form-data)")
    for name in keys:
        if name not in VideoRequest.model_fields:
            raise UnknownNameError("field", str(name)[:60], VideoRequest.model_fields)
    if keys.get("timeline") is None and "prompt" not in keys:
        raise FieldError("prompt", "Field required")
    if keys.get("timeline") is not None and "prompt" in keys:
        raise FieldError("timeline", "it has its own prompts: leave out prompt")
    try:
        made = VideoRequest.model_validate({**keys, "input_reference": picture and sha256(picture).hexdigest()})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise FieldError(".".join(str(part) for part in first["loc"]), first["msg"]) from error
    for name in made.model_fields_set:
        if isinstance(keys.get(name), bool) and not isinstance(getattr(made, name), bool):
            raise FieldError(name, f"{keys[name]} must be a number")
    return made


def configured(base: RunConfig, request: VideoRequest) -> RunConfig:
    """A preset with the search that a request asks for. Raises ``ConfigError``."""
    named = {"beam_size": request.beam_size, "top_k": request.top_k, "lag": request.lag}
    settings = {key: value for key, value in named.items() if value is not None}
    with about("budget"):
        settings |= parse_budget(request.budget) if request.budget is not None else {}
        search = dataclasses.replace(base.search, **settings)  # all but the budget was checked
    policy = base.policy if request.policy is None else request.policy
    apply_policy(policy, search)
    return base.model_copy(update={"search": search, "policy": policy})


def check_request(keys: Any, presets: LoadedPresets, limits: Limits, stream: bool = False) -> CheckedRequest:
    """Reads and checks a request, all but what is in its picture.

    Args:
        stream: the client listens: without a length, such a video goes on until it is told to end.

    Raises:
        ConfigError, PromptError: with one sentence that names what to change.
    """
    request = read_request(keys)
    has_length, picture = "seconds" in keys or request.timeline is not None, keys.get("input_reference")
    if request.endless and picture is not None:
        raise FieldError("input_reference", "a video without an end begins with its prompt alone")
    if request.endless and has_length:
        raise FieldError("endless", "a video without an end has no length: leave out seconds and timeline")
    if request.endless or (stream and not has_length):
        request = request.model_copy(update={"endless": True, "seconds": limits.seconds})
    preset = _preset(request, presets)
    config = configured(presets.config(preset), request)
    if config.policy != "greedy":
        with about("top_k" if request.beam_size is None else "beam_size"):
            limits.check_width(config.search.beam_size, config.search.top_k)
    served, pipeline = presets.served[preset], presets.pipeline(preset)
    with about("input_reference"):
        given = 0 if picture is None else given_chunks(pipeline.models)
    if request.timeline is not None:
        request = _with_scenes(request, pipeline, "seconds" in keys, limits, given)
    else:
        with about("prompt"):
            _check_words(request.prompt, config, limits)
        with about("seconds"):
            limits.check_seconds(request.seconds)
            pipeline.chunks_for(request.seconds, given)
    if request.devices is not None:
        with about("devices"):
            presets.check_devices(preset, request.devices)
    if request.size not in (None, served.size):
        raise FieldError("size", f"{preset} makes {served.size}, not {request.size!r}")
    if given and request.timeline is not None:
        longer = timeline_of(request, 0).lengthened(given)
        request = request.model_copy(update={"timeline": [dataclasses.asdict(scene) for scene in longer.scenes]})
    timeline = timeline_of(request, pipeline.chunks_for(request.seconds, given) + given)
    if request.endless:
        with about("endless"):
            check_endless(for_endless(apply_policy(config.policy, config.search)))
    else:
        with about("budget"):
            check_budget(config.search.budget_passes, pipeline.models, timeline, given)
    chunks = timeline.chunks or pipeline.chunks_for(request.seconds, given)
    request = request.model_copy(update=_used(request, config))
    return CheckedRequest(request, preset, chunks, served.size, picture)


def _used(request: VideoRequest, config: RunConfig) -> dict[str, Any]:
    """The settings of a search as it will run, those that the request leaves to the preset among them."""
    search, greedy = config.search, config.policy == "greedy"
    lag = for_endless(search).lag if request.endless else search.lag
    width = (None, None, None) if greedy else (search.beam_size, search.top_k, lag)
    seconds = None if search.budget_seconds is None else f"{search.budget_seconds:g}s"
    budget = str(search.budget_passes) if search.budget_passes is not None else seconds
    used = dict(zip(("beam_size", "top_k", "lag"), width))
    return {**used, "policy": config.policy, "budget": request.budget if request.budget is not None else budget}


def timeline_of(request: VideoRequest, chunks: int) -> Timeline:
    """The scenes of a request that has been checked; ``chunks`` is the length of one prompt."""
    if request.timeline is None:
        return Timeline.plain(request.prompt, None if request.endless else chunks)
    return Timeline(tuple(Scene(**scene) for scene in request.timeline))


def as_made(request: CheckedRequest, summary: Mapping[str, Any], pipeline: Pipeline) -> CheckedRequest:
    """What a stream without an end became, by its ``run.json``: its chunks, its seconds, and the scenes that were said.

    Any other request is what it was.
    """
    if not request.fields.endless:
        return request
    chunks, scenes = len(summary["outcome"]["lineage"]), summary.get("timeline")
    if scenes:
        last = chunks - sum(scene["chunks"] for scene in scenes[:-1])
        scenes = [*scenes[:-1], {**scenes[-1], "chunks": last}]
    seconds = round(pipeline.clock.seconds(chunks), 3)
    fields = request.fields.model_copy(update={"seconds": seconds, "timeline": scenes})
    return dataclasses.replace(request, fields=fields, chunks=chunks)


def as_kept(
    request: CheckedRequest, chunks: int, seconds: float, said: Sequence[tuple[int, Scene]] = ()
) -> CheckedRequest:
    """What a request became that was cancelled after so many chunks: its length, and the scenes that it came to.

    Where there is no chunk, its fields still say what was asked for, and its record says 0 seconds.

    Args:
        said: scenes that were said to a stream without an end, each with its first chunk.
    """
    if chunks == 0:
        return dataclasses.replace(request, chunks=0)
    scenes, left, asked = list[dict[str, Any]](), chunks, request.fields.timeline
    begun = [(chunk, scene) for chunk, scene in said if chunk < chunks]
    if request.fields.endless and begun:
        timeline = timeline_of(request.fields, 0)
        for chunk, scene in begun:
            timeline = timeline.then(scene, chunk)
        asked = [dataclasses.asdict(scene) for scene in timeline.scenes]
    for scene in asked or ():
        if left > 0:
            scenes.append({**scene, "chunks": min(left, scene["chunks"] or left)})
            left -= scenes[-1]["chunks"]
    fields = request.fields.model_copy(update={"seconds": round(seconds, 3), "timeline": scenes or None})
    return dataclasses.replace(request, fields=fields, chunks=chunks)


def _with_scenes(request: VideoRequest, pipeline: Pipeline, whole: bool, limits: Limits, given: int) -> VideoRequest:
    """The same request with its scenes in chunks, the first one's prompt, and their length in seconds."""
    clock = pipeline.clock.after(given)
    try:
        told = told_scenes(request.timeline or [])
        for number, scene in enumerate(told, 1):
            try:
                _check_words(scene.prompt, pipeline.config, limits)
            except (ConfigError, PromptError) as error:
                raise type(error)(f"scene {number}: {error}") from error
        timeline = resolved(told, clock, pipeline.chunks_for(request.seconds, given) if whole else None)
    except PromptError as error:
        raise PromptError(f"timeline: {error}") from error
    except ConfigError as error:
        raise FieldError("timeline", str(error)) from error
    seconds = round(clock.seconds(timeline.chunks or 0), 3)
    with about("timeline"):
        limits.check_seconds(seconds)
    scenes = [dataclasses.asdict(scene) for scene in timeline.scenes]
    return request.model_copy(update={"timeline": scenes, "prompt": timeline.scenes[0].prompt, "seconds": seconds})


def check_scene(keys: Any, config: RunConfig, limits: Limits) -> Scene:
    """A scene that begins while the video is made. Raises ``ConfigError`` and ``PromptError``."""
    if not isinstance(keys, Mapping) or not {"prompt"} <= keys.keys() <= {"prompt", "memory"}:
        raise ConfigError("say {'prompt': ...} or {'end': true} to a running stream")
    [told] = told_scenes([keys], "the message")
    _check_words(told.prompt, config, limits)
    return Scene(told.prompt, None, told.memory)


def _check_words(prompt: str, config: RunConfig, limits: Limits) -> None:
    """Raises ``ConfigError`` and ``PromptError`` for a prompt that is too long, or that the model cannot read."""
    limits.check_prompt(prompt)
    try:
        check_prompt(config, prompt)
    except PromptError as error:
        raise PromptError(f"prompt: {error}") from error


def _preset(request: VideoRequest, presets: LoadedPresets) -> str:
    names = [name for name in (request.preset, request.model) if name is not None]
    if len(set(names)) > 1:
        raise FieldError("preset", f"model={request.model!r} and preset={request.preset!r} mean the same; give one")
    name = names[0] if names else next(iter(presets.served))
    if name not in presets.served:
        raise UnknownNameError("model" if request.preset is None else "preset", name[:60], presets.served)
    return name
