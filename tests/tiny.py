"""A tokenizer and a BERT so small that tests make them in memory."""

from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

WORDS = ["good", "bad", "great", "awful", "film", "the", "a", "was", "not", "mask", "[", "]"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = {token: n for n, token in enumerate([*SPECIAL, *WORDS])}


def write_tokenizer(folder: Path) -> Path:
    """Write tokenizer.json over VOCABULARY into `folder`."""
    tokenizer = Tokenizer(models.WordPiece(vocab=VOCABULARY, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(SPECIAL)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    return path
