"""What an evaluation measures: prompts x seeds x methods x budgets x lengths, read from a YAML file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from streamt1.config.yaml_text import parse_yaml, read_yaml
from streamt1.core.errors import ConfigError, UnknownNameError
from streamt1.core.files import packaged_names
from streamt1.core.validation import check_names, check_plain, validated
from streamt1.memory.branch import MemoryConfig
from streamt1.pocket.scenes import evaluation_scenes
from streamt1.pocket.stories import evaluation_casts
from streamt1.search.config import POLICIES, SearchConfig

_KINDS: dict[str, Any] = {"search": SearchConfig, "memory": MemoryConfig}
SUITES = resources.files("streamt1.evaluation") / "suites"
Budget = tuple[int, int]
"""``(beam_size, top_k)``; their product is the number of candidates per chunk."""


class Method(BaseModel):
    """A way to search: a policy, and settings of search and memory that differ from the preset's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: str = "stream_t1"
    search: dict[str, Any] = {}
    memory: dict[str, Any] = {}


METHODS: dict[str, Method] = {
    **{name: Method(policy=name) for name in POLICIES},
    "without_propagation": Method(search={"propagation": False}),
    "without_pruning": Method(search={"pruning": "random"}),
    "without_sinking": Method(search={"sinking": False}),
}
"""The methods that every suite can name: the policies, and Stream-T1 without each of its units."""


class Length(BaseModel):
    """Clips of one length.

    Attributes:
        seconds: of each scene; of the clip where it has one scene.
        scenes: a letter for each scene of a clip, from A on; a letter that comes again is a prompt that returns, as in
            ``ABA``.
        prompts: how many clips; of a list of prompts, the first ones, a clip's scenes one after another; as many as
            there are prompts for, where there are fewer.
        seeds: runs of each prompt.
        regret_every: the oracle reads the candidates of every n-th chunk; 1 is every chunk.
        budgets: instead of the suite's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(gt=0)
    scenes: str = Field(default="A", pattern=r"^A[A-Z]*$", max_length=100)
    prompts: int = Field(ge=1)
    seeds: int = Field(default=1, ge=1)
    regret_every: int = Field(default=1, ge=1)
    budgets: tuple[Budget, ...] | None = None


class Question(BaseModel):
    """A comparison that is named before it is looked at.

    Attributes:
        question: a sentence.
        method, than: whose lead over whom answers it, at each length and budget that both have.
        lengths: only at these, as ``["ABCDEF x 5.25"]``; all by default.
        tries: how many comparisons the question is tried by; their intervals are also told widened for that.
        grows: two lengths, as ``["5", "ABCDEF x 5"]``: asks for the lead at the second less that at the first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str
    method: str
    than: str
    lengths: tuple[str, ...] = ()
    tries: int = Field(default=1, ge=1)
    grows: tuple[str, str] | None = None


class Suite(BaseModel):
    """One evaluation.

    Attributes:
        preset: whose models are measured.
        prompts: of the pocket world, what no training stage sees: ``held_out``, scenes of all kinds, which take turns;
            ``stories``, scenes each of whose objects has an open detail, and of which neighbours differ in shape,
            colour and background; or a list of sentences.
        budgets: ``(beam_size, top_k)`` pairs.
        methods: at every budget; ``greedy`` has only one.
        ablations: methods at ``ablation_budget`` only, each compared with ``stream_t1`` there.
        variants: more methods, by their names.
        asked: comparisons that are named before they are looked at; the report answers them first.
        judge: the column that gains are counted in; higher is better.
        seed: of the first run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    about: str = ""
    preset: str = "pocket"
    prompts: Literal["held_out", "stories"] | tuple[str, ...] = "held_out"
    lengths: tuple[Length, ...] = Field(min_length=1)
    budgets: tuple[Budget, ...] = Field(min_length=1)
    methods: tuple[str, ...] = ("greedy", "best_of_n", "beam", "stream_t1")
    ablations: tuple[str, ...] = ()
    ablation_budget: Budget = (2, 2)
    variants: dict[str, Method] = {}
    asked: tuple[Question, ...] = ()
    judge: str = "oracle"
    seed: int = Field(default=0, ge=0)

    def method(self, name: str) -> Method:
        """Raises ``UnknownNameError``."""
        known = {**METHODS, **self.variants}
        if name not in known:
            raise UnknownNameError("method", name, known)
        return known[name]

    def texts(self, count: int) -> list[str]:
        """The first ``count`` prompts, or all where there are fewer; of ``stories`` those of one scene."""
        if self.prompts == "held_out":
            return [scene.prompt for scene in evaluation_scenes(count)]
        if self.prompts == "stories":
            return [scene.prompt for (scene,) in evaluation_casts(count, 1)]
        return list(self.prompts[:count])

    def scripts(self, length: Length) -> list[tuple[str, ...]]:
        """The prompts of each clip's scenes. Raises ``ConfigError`` where there are too few."""
        letters = sorted(set(length.scenes))
        each = len(letters)
        if self.prompts == "stories":
            casts = evaluation_casts(length.prompts, each)
            return [tuple(cast[letters.index(letter)].prompt for letter in length.scenes) for cast in casts]
        texts = self.texts(length.prompts * each)
        if len(texts) < each:
            raise ConfigError(
                f"scenes={length.scenes} needs {each} prompts, and the suite {self.name} has {len(texts)}"
            )
        clips = (texts[begin : begin + each] for begin in range(0, len(texts) - each + 1, each))
        return [tuple(texts[letters.index(letter)] for letter in length.scenes) for texts in clips]


def suite_names() -> list[str]:
    """Names of the suites that ship in the package."""
    return packaged_names("streamt1.evaluation", "suites")


def load_suite(name: str, changes: Mapping[str, Any] | None = None) -> Suite:
    """A suite of the package, or of a YAML file.

    Args:
        name: a suite's name, or a path that ends in ``.yaml`` or ``.yml``.
        changes: keys to replace, such as ``{"prompts": [...]}``.

    Raises:
        UnknownNameError: a suite, key or method that does not exist; the message names the nearest.
        ConfigError: a file that cannot be read, or a value that does not fit.
    """
    keys = _read(name)
    if not isinstance(keys, dict):
        raise ConfigError(f"the suite {name} must hold keys and values")
    return checked_suite({"name": Path(name).stem, **keys, **(changes or {})})


def _read(name: str) -> Any:
    if name.lower().endswith((".yaml", ".yml")):
        return read_yaml(Path(name), "the suite")
    if name not in suite_names():
        raise UnknownNameError("suite", name, suite_names())
    return parse_yaml((SUITES / f"{name}.yaml").read_text(encoding="utf-8"), name)


def checked_suite(keys: Mapping[str, Any]) -> Suite:
    """The suite of these keys. Raises ``ConfigError`` and ``UnknownNameError``."""
    check_plain("suite key", keys)
    suite = validated(Suite, keys, "suite key")
    known = {kind: [f.name for f in dataclasses.fields(of)] for kind, of in _KINDS.items()}
    for name in (*suite.methods, *suite.ablations):
        for kind, names in known.items():
            check_names(f"{kind} key", getattr(suite.method(name), kind), names)
        check_names("policy", [suite.method(name).policy], POLICIES)
    for one in suite.asked:
        check_names("method", (one.method, one.than), (*suite.methods, *suite.ablations))
        check_names(
            "length",
            (*one.lengths, *(one.grows or ())),
            [named_length(each.scenes, each.seconds) for each in suite.lengths],
        )
    return suite


def named_length(scenes: str, seconds: float) -> str:
    """``"30"``: seconds; of several scenes ``"ABA x 5"``: which, and the seconds of each."""
    return f"{seconds:g}" if len(scenes) == 1 else f"{scenes} x {seconds:g}"
