import json
from pathlib import Path

from streamt1.evaluation.suites import Length, Suite
from streamt1.evaluation.tasks import plan
from streamt1.evaluation.vbench import safe_name, video_path, write_prompts

SUITE = Suite(
    name="export",
    prompts=("a cat", "half/time"),
    lengths=(Length(seconds=5, prompts=2, seeds=2), Length(seconds=30, prompts=1)),
    budgets=((2, 2),),
    methods=("greedy", "stream_t1"),
)


def test_videos_are_called_by_prompt_and_run_and_the_prompt_files_name_them_all(tmp_path: Path) -> None:
    tasks = plan(SUITE)
    paths = [video_path(tmp_path, task) for task in tasks]
    assert len(set(paths)) == len(tasks)
    assert tmp_path / "5s" / "stream_t1-2x2" / "a cat-1.mp4" in paths
    write_prompts(tmp_path, tasks)
    for task, path in zip(tasks, paths):
        assert json.loads(path.parent.with_suffix(".json").read_text())[path.name] == task.prompt
    readme = (tmp_path / "README.md").read_text()
    assert readme.count("--mode=custom_input --prompt_file '5s/") == 2
    assert readme.count("--mode long_custom_input") == 2
    assert "'30s/stream_t1-2x2'" in readme


def test_names_of_files() -> None:
    assert safe_name("a red circle, resting") == "a red circle, resting"
    long = safe_name("x" * 300)
    assert len(long) < 220
    assert safe_name("a/b") != safe_name("a:b")
    assert "/" not in safe_name("a/b")
