"""infinity's own server, over the checkpoint as its version of transformers reads it.

Its transformers is older than the one that wrote the checkpoint, and must be told in two files what
the checkpoint is; the weights stay as they are. Its ONNX engine wants an ONNX file beside them,
which is exported first, and cuts no text by itself: longer ones than the network takes fail, so its
pipeline is told to cut.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

from infinity_emb.cli import cli

_NAMES = {
    "config.json": {"architectures": ["BertForSequenceClassification"]},
    "tokenizer_config.json": {"tokenizer_class": "BertTokenizerFast"},
}


def rewrite(checkpoint: Path, into: Path) -> None:
    """Make a folder `into` like `checkpoint`, with the names that older versions know."""
    into.mkdir(parents=True)
    for file in checkpoint.iterdir():
        if file.name in _NAMES:
            settings = json.loads(file.read_text()) | _NAMES[file.name]
            (into / file.name).write_text(json.dumps(settings))
        else:
            (into / file.name).symlink_to(file)


def export(model: Path) -> None:
    """Add to the folder `model` its network as model.onnx, fp32."""
    import torch
    from transformers import AutoTokenizer, BertForSequenceClassification

    network = BertForSequenceClassification.from_pretrained(model, attn_implementation="eager")
    example = AutoTokenizer.from_pretrained(model)("A joy.", return_tensors="pt")
    names = ["input_ids", "attention_mask", "token_type_ids"]  # in the network's own order
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


def cut_texts() -> None:
    """Make the pipeline of the ONNX engine cut texts at what the network takes."""
    from infinity_emb.transformer.classifier import optimum

    optimum.pipeline = partial(optimum.pipeline, truncation=True)


if __name__ == "__main__":
    checkpoint, scratch, *options = sys.argv[1:]
    model = Path(scratch, "model")
    rewrite(Path(checkpoint).resolve(), model)
    if "optimum" in options:
        export(model)
        cut_texts()
    sys.argv[1:] = ["v2", "--model-id", str(model), *options]
    cli()
