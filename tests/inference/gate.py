"""A network that tests can block."""

import threading

import numpy as np
from numpy.typing import NDArray


class Gate:
    """Blocks until it is opened, and records the first token of each window."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.seen: list[int] = []

    def __call__(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        self.seen += ids[:, 0].tolist()
        assert self.open.wait(10)
        return ids[:, :1].astype(np.float32)
