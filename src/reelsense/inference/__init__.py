"""From text to answer: clean, cut into windows, run the network, calibrate. Needs no PyTorch."""
