"""A tiny tokenizer.json of each type that encoders use, with the special tokens of its family."""

from __future__ import annotations

from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from tests.tiny import VOCABULARY, tokenizer_json

_TRAINED_ON = ["good", "bad", "great", "awful", "film", "the", "a", "was"]


def mpnet() -> str:
    """WordPiece in which BERT's [PAD] and [MASK] are ordinary entries of the vocabulary."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *VOCABULARY, "<mask>"]
    vocabulary = {token: n for n, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "[UNK]", "<mask>"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer.to_str()


def roberta() -> str:
    """Byte-level BPE whose post-processor trims the offsets of tokens to the word."""
    tokenizer = _byte_level(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False
    )
    return tokenizer.to_str()


def modernbert() -> str:
    """Byte-level BPE whose offsets include the space before a word."""
    tokenizer = _byte_level(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.post_processor = _template(tokenizer)
    return tokenizer.to_str()


def deberta() -> str:
    """Unigram with Metaspace, as converted from SentencePiece; offsets include the space."""
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    letters = [*"abcdefghijklmnopqrstuvwxyzGBATF.,!?'", "\u2581"]
    pieces = [(token, 0.0) for token in special]
    pieces += [(f"\u2581{word}", -2.0) for word in _TRAINED_ON]
    pieces += [(letter, -6.0) for letter in letters]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Strip(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = _template(tokenizer)
    return tokenizer.to_str()


def _byte_level(special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        special_tokens=special,
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f"{word} {word}" for word in _TRAINED_ON * 3], trainer)
    return tokenizer


def _template(tokenizer: Tokenizer) -> processors.TemplateProcessing:
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    return processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)


KINDS = {
    "bert": lambda: tokenizer_json("[UNK]"),
    "mpnet": mpnet,
    "roberta": roberta,
    "modernbert": modernbert,
    "deberta-v2": deberta,
}
"""By the `model_type` of a family that uses the kind."""
