"""A tiny random encoder of the real architecture, and data that it can learn."""

from pathlib import Path

import pytest
import torch

from serving.language.encoder import SentenceEncoder, load_encoder
from training.baseline import Baseline, fit_baseline
from training.config import TrainConfig
from training.data import Dataset, Splits

WORDS = {
    "card_arrival": ["when", "will", "my", "new", "card", "arrive", "in", "the", "mail"],
    "lost_or_stolen_card": ["somebody", "stole", "my", "wallet", "please", "block", "it", "now"],
    "loan_payment_quote": ["what", "would", "a", "loan", "cost", "every", "month"],
    "out_of_scope": ["tell", "me", "a", "joke", "about", "weather", "and", "football"],
}


def make_encoder(folder: Path, words: list[str]) -> Path:
    """A BERT of two small layers with a word-level tokenizer, in the layout that serving loads."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted(set(words))]
    vocabulary = {word: index for index, word in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        config = BertConfig(
            vocab_size=len(tokens),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
        )
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def make_split(split: str, per_label: int, seed: int) -> Dataset:
    """Utterances of five words of one label, in random order."""
    generator = torch.Generator().manual_seed(seed)
    texts, labels = [], []
    for label, words in WORDS.items():
        for _ in range(per_label):
            chosen = torch.randint(len(words), (5,), generator=generator)
            texts.append(" ".join(words[i] for i in chosen.tolist()))
            labels.append(label)
    return Dataset(tuple(texts), tuple(labels), split, "made for tests")


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> SentenceEncoder:
    """The tiny encoder, loaded as serving loads the real one."""
    words = ["zebra", *(word for group in WORDS.values() for word in group)]
    return load_encoder(make_encoder(tmp_path_factory.mktemp("encoder") / "tiny", words), max_length=32)


@pytest.fixture(scope="session")
def splits() -> Splits:
    """Four labels, learnable."""
    return Splits(
        make_split("train", 12, 1), make_split("validation", 5, 2), make_split("test", 10, 3), "tests"
    )


@pytest.fixture(scope="session")
def config() -> TrainConfig:
    """A run of a second."""
    return TrainConfig(
        rank=4, epochs=3, batch_size=8, max_length=32, learning_rate=5e-3, refit=False, patience=0
    )


@pytest.fixture(scope="session")
def baseline(encoder: SentenceEncoder, splits: Splits, config: TrainConfig) -> Baseline:
    """The frozen baseline on the tiny encoder."""
    return fit_baseline(encoder, splits, config)
