"""What the server answers, as its OpenAPI document tells it: every field, with its type and what it means."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from streamt1.core.timeline import Switch
from streamt1.server.schemas import Status


class Answer(BaseModel):
    """Has the fields that it names, all of them, and no others."""

    model_config = ConfigDict(extra="forbid")


class VideoError(Answer):
    """Why a video has failed."""

    code: str
    message: str


class VideoScene(Answer):
    """A scene of a video."""

    prompt: str
    chunks: int | None = Field(description="its length; null for the last of a stream without an end")
    memory: Switch | None = Field(description="what its beginning does to the memory; null as the preset says")


class Video(Answer):
    """A video that was asked for, as OpenAI's `Video`, with what this server knows besides."""

    id: str = Field(pattern="^video_[0-9a-f]{32}$")
    object: Literal["video"]
    model: str = Field(description="the preset that makes it")
    status: Status
    progress: int = Field(ge=0, le=100, description="percent")
    created_at: int = Field(description="seconds since 1970")
    completed_at: int | None = Field(description="when it was completed, or failed; seconds since 1970")
    expires_at: int | None = Field(description="when it will be deleted, if ever; seconds since 1970")
    error: VideoError | None
    prompt: str
    seconds: str = Field(description="length as asked for; `chunks` has what is made")
    size: str = Field(pattern=r"^\d+x\d+$|^unknown$")
    remixed_from_video_id: None
    preset: str = Field(description="the same as `model`")
    chunks: int = Field(
        ge=0, description="length; the most of a stream without an end; what is kept of a cancelled one"
    )
    timeline: list[VideoScene] | None
    stream: bool = Field(description="whether it was asked for over /v1/stream")
    policy: str | None
    beam_size: int | None = Field(description="null for greedy, which is one sample")
    top_k: int | None = Field(description="null for greedy, which is one sample")
    lag: int | None = Field(description="null where a chunk is open until all beams share it")
    seed: int
    budget: str | None = Field(description="model passes, or seconds as `60s`")
    endless: bool
    devices: int | None = Field(description="null for as many as the server was started with")


class Said(Answer):
    """What became of a word to a stream without an end."""

    event: Literal["ending", "prompt_taken"]
    prompt: str = Field(default="", description="the next scene's")


class VideoList(Answer):
    """Videos, and how to go on."""

    object: Literal["list"]
    data: list[Video]
    first_id: str | None
    last_id: str | None = Field(description="`after` of the next page")
    has_more: bool


class DeletedVideo(Answer):
    """A video that was deleted."""

    id: str
    object: Literal["video.deleted"]
    deleted: Literal[True]


class Model(Answer):
    """A preset that is served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    about: str
    size: str = Field(description="of its videos, as WIDTHxHEIGHT")
    fps: int
    shortest: float = Field(description="seconds of the shortest video")
    beam_size: int
    top_k: int


class Bounds(Answer):
    """What may be asked for."""

    prompt: int = Field(description="characters")
    seconds: float
    width: int = Field(description="candidates of a chunk, `beam_size * top_k`")
    waiting: int = Field(description="videos that may wait")


class ModelList(Answer):
    """The presets that are served."""

    object: Literal["list"]
    data: list[Model]
    limits: Bounds


class WorkerHealth(Answer):
    """One worker."""

    device: str
    alive: bool


class Health(Answer):
    """How the server is."""

    status: Literal["ok", "failing", "disk_full"]
    workers: list[WorkerHealth]
    running: int
    waiting: int
    disk_free_bytes: int


class ErrorBody(Answer):
    """What was wrong."""

    message: str = Field(description="one sentence that says what to change")
    type: Literal["invalid_request_error", "server_error", "rate_limit_error"]
    param: str | None = Field(description="the field or parameter that it is about")
    code: str


class Error(Answer):
    """Every error, in OpenAI's shape."""

    error: ErrorBody
