from pathlib import Path

import pytest
import torch

from streamt1.backbones.wan.text import WanText, clean
from streamt1.core.errors import CheckpointError, PromptError

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
