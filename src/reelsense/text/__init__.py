"""Text before the tokenizer: cleaning, symbols in words, sentences. Knows strings only."""
