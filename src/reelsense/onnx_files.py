"""Split ONNX networks into files of limited size, in ONNX's external data format.

Does not know bundles.
"""

from __future__ import annotations

from pathlib import Path

from reelsense.extras import importable

_IN_GRAPH = 1024  # weights of fewer bytes stay in the graph, as with `onnx.save_model`
_PAGE = 4096  # weights are aligned to pages, so that they can be mapped into memory


def write_split(network: bytes, path: Path, max_file_size: int) -> list[str]:
    """Write an ONNX network as a graph `path` and files of weights beside it.

    A matrix of more than `max_file_size` bytes, which the format cannot divide, gets its own file.
    Returns the file names: that of `path`, and with `.data-1`, `.data-2`, ... appended.
    """
    importable("onnx", "eval", f"splitting a network of more than {max_file_size:,} bytes")
    import onnx
    from onnx.external_data_helper import set_external_data, write_external_data_tensors

    model = onnx.load_from_string(network)
    number = end = 0
    for weights in model.graph.initializer:
        length = len(weights.raw_data)
        if length < _IN_GRAPH:
            continue
        offset = -(-end // _PAGE) * _PAGE
        if not number or offset + length > max_file_size:
            number, offset = number + 1, 0
        set_external_data(weights, f"{path.name}.data-{number}", offset, length)
        end = offset + length
    write_external_data_tensors(model, str(path.parent))
    path.write_bytes(model.SerializeToString())
    return [path.name, *(f"{path.name}.data-{n}" for n in range(1, number + 1))]
