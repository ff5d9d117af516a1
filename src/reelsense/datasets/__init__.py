"""Labelled reviews: the Large Movie Review Dataset and your own tables. Needs no PyTorch."""
