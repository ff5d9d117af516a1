"""The server of infinity, with the checkpoint in the format of its version of transformers.

That version is older than the one that wrote the checkpoint, and needs other class names in two
files. The ONNX engine needs an ONNX file, which is exported first, and fails for long texts, so
truncation is enabled in its pipeline.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

from infinity_emb.cli import cli

_CLASS_NAMES = {
    "config.json": {"architectures": ["BertForSequenceClassification"]},
    "tokenizer_config.json": {"tokenizer_class": "BertTokenizerFast"},
}


def rewrite(checkpoint: Path, into: Path) -> None:
    """Copy `checkpoint` to the folder `into`, with the class names of older versions."""
    into.mkdir(parents=True)
    for file in checkpoint.iterdir():
        if file.name in _CLASS_NAMES:
            settings = json.loads(file.read_text()) | _CLASS_NAMES[file.name]
            (into / file.name).write_text(json.dumps(settings))
        else:
            (into / file.name).symlink_to(file)


def export(model: Path) -> None:
    """Export the network in the folder `model` to model.onnx, fp32."""
    import torch
    from transformers import AutoTokenizer, BertForSequenceClassification

    network = BertForSequenceClassification.from_pretrained(model, attn_implementation="eager")
    example = AutoTokenizer.from_pretrained(model)("A joy.", return_tensors="pt")
    names = [
        "input_ids",
        "attention_mask",
        "token_type_ids",
    ]  # in the order of the network's parameters
    axes = {name: {0: "batch", 1: "length"} for name in names}
    torch.onnx.export(
        network.eval(),
        tuple(example[name] for name in names),
        model / "model.onnx",
        input_names=names,
        output_names=["logits"],
        dynamic_axes=axes | {"logits": {0: "batch"}},
        dynamo=False,  # infinity's optimizer knows the graphs of this exporter
    )


def truncate_texts() -> None:
    """Let the pipeline of the ONNX engine truncate texts at the maximum of the network."""
    from infinity_emb.transformer.classifier import optimum

    optimum.pipeline = partial(optimum.pipeline, truncation=True)


if __name__ == "__main__":
    checkpoint, scratch, *options = sys.argv[1:]
    model = Path(scratch, "model")
    rewrite(Path(checkpoint).resolve(), model)
    if "optimum" in options:
        export(model)
        truncate_texts()
    sys.argv[1:] = ["v2", "--model-id", str(model), *options]
    cli()
