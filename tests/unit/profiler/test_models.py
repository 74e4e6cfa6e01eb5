"""Models for a Triton repository: what is written, and that int8 answers like the network it came from."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from profiler.models.export import export_models
from profiler.models.quantise import quantise_model
from profiler.models.repository import Backend, write_model
from profiler.options import parse_backend
from tradewind.errors import InvalidInput

FEATURES, HIDDEN, CLASSES = 16, 32, 10


def two_layers(path: Path) -> Path:
    """A small network of two dense layers, with an open batch dimension."""
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.standard_normal((FEATURES, HIDDEN)),
        "b1": rng.standard_normal(HIDDEN),
        "w2": rng.standard_normal((HIDDEN, CLASSES)),
        "b2": rng.standard_normal(CLASSES),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("Gemm", ["r", "w2", "b2"], ["scores"]),
        ],
        "two-layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", FEATURES])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def answers(
    network: Path, x: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    session = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
    assert [(tensor.name, tensor.type) for tensor in session.get_inputs()] == [("x", "tensor(float)")]
    assert [(tensor.name, tensor.type) for tensor in session.get_outputs()] == [("scores", "tensor(float)")]
    scores: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = session.run(["scores"], {"x": x})[0]
    return scores


def test_a_stock_triton_needs_the_network_and_its_configuration(tmp_path: Path) -> None:
    network = two_layers(tmp_path / "n.onnx")
    folder = write_model(tmp_path / "r", "net", network, backend=Backend.ONNXRUNTIME, max_batch=8)
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "1/model.onnx",
        "config.pbtxt",
    ]
    config = (folder / "config.pbtxt").read_text()
    assert 'backend: "onnxruntime"' in config
    assert 'input [ { name: "x", data_type: TYPE_FP32, dims: [ 16 ] } ]' in config
    assert 'output [ { name: "scores", data_type: TYPE_FP32, dims: [ 10 ] } ]' in config
    assert "max_batch_size: 8" in config
    assert "random" not in config
    assert "KIND" not in config


def test_the_python_backend_needs_a_model_file_and_random_weights_are_confessed(tmp_path: Path) -> None:
    network = two_layers(tmp_path / "n.onnx")
    folder = write_model(
        tmp_path / "r", "net", network, backend=Backend.PYTHON, max_batch=8, random_weights=True, threads=2
    )
    config = (folder / "config.pbtxt").read_text()
    assert 'parameters { key: "weights" value { string_value: "random" } }' in config
    assert 'parameters { key: "threads" value { string_value: "2" } }' in config
    compile((folder / "1" / "model.py").read_text(), "model.py", "exec")


@pytest.mark.parametrize("name", ["", "../net", ".net", "a/b"])
def test_a_name_that_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="plain name"):
        write_model(tmp_path, name, two_layers(tmp_path / "n.onnx"), backend=Backend.PYTHON, max_batch=1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_int8_answers_like_the_network_it_came_from(tmp_path: Path) -> None:
    source = two_layers(tmp_path / "r" / "net" / "1" / "model.onnx")
    x = np.random.default_rng(1).standard_normal((500, FEATURES)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x[:200])
    folder = quantise_model(tmp_path / "r", "net", "net-int8", tmp_path / "x.npz", backend=Backend.PYTHON, max_batch=8)
    network = folder / "1" / "model.onnx"
    weights = {tensor.data_type for tensor in onnx.load(network).graph.initializer if len(tensor.dims) == 2}
    assert weights == {TensorProto.INT8}
    agree = answers(source, x[200:]).argmax(axis=1) == answers(network, x[200:]).argmax(axis=1)
    assert agree.mean() > 0.95


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("random_weights", [True, False])
def test_int8_of_random_weights_confesses_them_too(tmp_path: Path, random_weights: bool) -> None:
    repository, network = tmp_path / "r", two_layers(tmp_path / "n.onnx")
    write_model(repository, "net", network, backend=Backend.ONNXRUNTIME, max_batch=8, random_weights=random_weights)
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(1).standard_normal((20, FEATURES)).astype(np.float32))
    folder = quantise_model(repository, "net", "net-int8", tmp_path / "x.npz", backend=Backend.PYTHON, max_batch=8)
    assert ('string_value: "random"' in (folder / "config.pbtxt").read_text()) is random_weights


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_int8_takes_inputs_in_another_precision_and_says_which_do_not_fit(tmp_path: Path) -> None:
    two_layers(tmp_path / "r" / "net" / "1" / "model.onnx")
    x = np.random.default_rng(1).standard_normal((20, FEATURES))

    def quantise(**arrays: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Path:
        np.savez(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type] # its stub takes the arrays for a flag
        return quantise_model(
            tmp_path / "r", "net", "net-int8", tmp_path / "x.npz", backend=Backend.PYTHON, max_batch=8
        )

    assert (quantise(x=x, beside=x) / "1" / "model.onnx").exists()
    with pytest.raises(InvalidInput, match=r"--inputs has no array x, which .* takes; it has pixels"):
        quantise(pixels=x)
    with pytest.raises(InvalidInput, match=r"--inputs x is \[8\] without the examples; .* takes \[16\]"):
        quantise(x=x[:, :8])


def test_a_repository_that_cannot_be_written_is_said_before_exporting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = SimpleNamespace(models=SimpleNamespace(list_models=lambda module: ["resnet18"]))  # noqa: ARG005 -- its name
    monkeypatch.setattr("profiler.models.export._torchvision", lambda: networks)
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match=r"--to .*: cannot be written there"):
        export_models(["resnet18"], tmp_path / "file" / "r", random_weights=True, backend=Backend.PYTHON, max_batch=8)


def test_a_model_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not there"):
        quantise_model(tmp_path, "net", "net-int8", tmp_path / "x.npz", backend=Backend.PYTHON, max_batch=8)


def test_without_the_extra_the_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InvalidInput, match="extra `models`"):
        export_models(["resnet50"], tmp_path, random_weights=True, backend=Backend.PYTHON, max_batch=8)


def test_backends() -> None:
    assert parse_backend("python") is Backend.PYTHON
    with pytest.raises(InvalidInput, match="onnxruntime or python"):
        parse_backend("tensorrt")
