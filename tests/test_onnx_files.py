import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from reelsense.errors import MissingExtraError
from reelsense.onnx_files import write_split


def model(sizes: list[int]) -> onnx.ModelProto:
    """Return an ONNX model with unused weights of these sizes in bytes."""
    weights = [
        numpy_helper.from_array(np.random.default_rng(n).integers(0, 256, size, np.uint8), f"w{n}")
        for n, size in enumerate(sizes)
    ]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])
    node = helper.make_node("Identity", ["x"], ["y"])
    return helper.make_model(helper.make_graph([node], "g", [value], [result], weights))


def arrays(network: onnx.ModelProto) -> dict[str, list[int]]:
    weights = network.graph.initializer
    return {array.name: numpy_helper.to_array(array).tolist() for array in weights}


@settings(max_examples=50)
@given(st.lists(st.integers(0, 20_000), max_size=12), st.integers(1, 40_000))
def test_write_split_keeps_every_weight_and_the_size_of_files(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], max_file_size: int
) -> None:
    folder, network = tmp_path_factory.mktemp("split"), model(sizes)
    names = write_split(network.SerializeToString(), folder / "network", max_file_size)
    further = [f"network.data-{n + 1}" for n in range(len(names) - 1)]
    assert names == ["network", *further]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    allowed = max([max_file_size, *sizes])
    assert all((folder / name).stat().st_size <= allowed for name in further)
    assert arrays(onnx.load(folder / "network")) == arrays(network)
    outside = [size for size in sizes if size >= 1024]
    assert (folder / "network").stat().st_size < sum(sizes) - sum(outside) + 300 + 200 * len(sizes)
    assert len(further) <= len(outside)


def test_write_split_is_repeatable(tmp_path: Path) -> None:
    network = model([5000, 100, 7000, 6000]).SerializeToString()
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        names = write_split(network, tmp_path / name / "network", 16_000)
        contents.append([(tmp_path / name / array).read_bytes() for array in names])
    assert contents[0] == contents[1]
    assert len(contents[0]) == 3


def test_write_split_without_onnx_names_the_pip_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'reelsense\[eval\]'"):
        write_split(b"", tmp_path / "network", 10)
