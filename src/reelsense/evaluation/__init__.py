"""How good the answers are, measured from labelled reviews and a classifier. Needs no PyTorch."""
