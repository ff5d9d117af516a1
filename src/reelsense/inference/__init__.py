"""Text to prediction: clean, tokenize, run the network, calibrate. Does not need PyTorch."""
