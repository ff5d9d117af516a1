"""Labelled reviews: the Large Movie Review Dataset and the user's own files. Needs no PyTorch."""
