import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch

from streamt1.backbones.wan.text import WanText, clean
from streamt1.core.errors import CheckpointError, PromptError, StreamT1Warning

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random UMT5 encoder and a tokenizer of a few words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    root = tmp_path_factory.mktemp("wan")
    torch.manual_seed(0)
    config = transformers.UMT5Config(
        vocab_size=32, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4, pad_token_id=0, eos_token_id=1
    )
    transformers.UMT5EncoderModel(config).save_pretrained(root / "text_encoder")
    words = {word: index for index, word in enumerate(["<pad>", "</s>", "<unk>", "a", "red", "fox", "&"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(root / "tokenizer")
    return root


def load(folder: Path, length: int = 12) -> WanText:
    return WanText.load(
        folder / "text_encoder", folder / "tokenizer", torch.device("cpu"), torch.float32, length=length
    )


def test_rows_past_the_prompt_are_zero(folder: Path) -> None:
    rows = load(folder)("a red fox")
    assert rows.shape == (1, 12, 16)
    assert rows[0, :4].abs().amin(1).gt(0).all(), "three words and the end"
    assert rows[0, 4:].abs().max() == 0


def test_prompts_are_cleaned_and_cut(folder: Path) -> None:
    assert clean("  a \n red&amp;amp;  fox\u00a0") == "a red& fox"
    text = load(folder)
    assert torch.equal(text("a   red\tfox "), text("a red fox"))
    assert load(folder, 3)("a red fox a red fox").shape == (1, 3, 16)
    with pytest.raises(PromptError, match="empty"):
        text(" \n ")


def test_a_missing_folder_is_named(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        WanText.load(folder / "nowhere", folder / "tokenizer", torch.device("cpu"), torch.float32)


def spoilt(folder: Path, spoil: str) -> str:
    """Spoils a saved text encoder; returns what must be said of it."""
    from safetensors.torch import load_file, save_file

    file, config = folder / "model.safetensors", folder / "config.json"
    weights, sizes = load_file(file), json.loads(config.read_text())
    name = "encoder.block.1.layer.0.SelfAttention.q.weight"
    if spoil == "missing":
        del weights[name]
        told = rf"1 missing: {name}"
    elif spoil == "prefix":
        weights = {f"text_model.{key}": value for key, value in weights.items()}
        told = r"missing: .*unexpected: text_model\."
    elif spoil == "layers":
        sizes["num_layers"] = 3
        told = r"missing: encoder\.block\.2"
    elif spoil == "nan":
        weights[name][0, 0] = torch.inf
        told = rf"NaN or infinite values in 1 weights: {name}"
    else:
        config.write_text("{")
        return r"config\.json is damaged"
    save_file(weights, file)
    config.write_text(json.dumps(sizes))
    return told


@pytest.mark.parametrize("spoil", ["missing", "prefix", "layers", "nan", "config"])
def test_no_weight_is_made_up(folder: Path, tmp_path: Path, spoil: str) -> None:
    """transformers itself loads the first three, with random values in the gaps."""
    shutil.copytree(folder, tmp_path / "wan")
    told = spoilt(tmp_path / "wan" / "text_encoder", spoil)
    with pytest.raises(CheckpointError, match=told) as caught:
        load(tmp_path / "wan")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", ["shared.weight", "encoder.embed_tokens.weight"])
@pytest.mark.parametrize("tied", [True, False])
def test_the_word_table_is_one_whatever_the_file_calls_it(folder: Path, tmp_path: Path, kept: str, tied: bool) -> None:
    """Releases of transformers left the second name zero where the configuration says that words are not tied."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, tmp_path / "wan")
    file, config = (tmp_path / "wan" / "text_encoder" / name for name in ("model.safetensors", "config.json"))
    weights = load_file(file)
    table = weights.get("shared.weight", weights.get("encoder.embed_tokens.weight"))
    assert table is not None
    others = {key: value for key, value in weights.items() if "embed_tokens" not in key and "shared" not in key}
    save_file({**others, kept: table}, file)
    config.write_text(json.dumps({**json.loads(config.read_text()), "tie_word_embeddings": tied}))
    text = load(tmp_path / "wan")
    encoder = text.encoder
    assert encoder.shared.weight is encoder.encoder.embed_tokens.weight
    assert torch.equal(encoder.shared.weight, table)
    assert torch.equal(text("a red fox"), load(folder)("a red fox"))


def test_the_numbers_are_those_of_transformers(folder: Path) -> None:
    theirs = transformers.UMT5EncoderModel.from_pretrained(folder / "text_encoder")
    ids = torch.tensor([[3, 4, 5, 1]])
    with torch.no_grad():
        expected = theirs(ids, torch.ones_like(ids)).last_hidden_state
    assert torch.allclose(load(folder, 4)("a red fox"), expected, atol=1e-6)


def test_a_prompt_that_is_cut_is_said(folder: Path) -> None:
    with pytest.warns(StreamT1Warning, match=r"has 7 tokens and is cut to its first 3"):
        load(folder, 3)("a red fox a red fox")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(folder, 7)("a red fox a red fox")
