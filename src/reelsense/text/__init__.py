"""Text before the tokenizer: cleaning, emoji, sentences and words."""
