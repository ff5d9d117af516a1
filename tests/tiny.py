"""A tokenizer and a BERT so small that tests make them in memory."""

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

WORDS = ["good", "bad", "great", "awful", "film", "the", "a", "was", "not", "mask", "[", "]"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = {token: n for n, token in enumerate([*SPECIAL, *WORDS])}


def tokenizer_json() -> str:
    """The tokenizer.json of a BERT that knows VOCABULARY."""
    tokenizer = Tokenizer(models.WordPiece(vocab=VOCABULARY, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer.to_str()
