"""Writes a model with the family's vocabulary of 131,072 tokens: the built-in model's layers with other embeddings.

    python3 wide_model.py OUT_FOLDER [REPEAT=1]

REPEAT stacks of the layers come one after the other: a model whose layers take long. The input and output embeddings are random (seeded), so what it says has no sense; it is for timing. The vocabulary is
scripts/golden/tekken.py's, from the package mistral-common.
"""
import json
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np

VOCABULARY = 131072


def main(out, repeat):
    root = Path(__file__).resolve().parents[2]
    pico = root / "model" / "pico"
    out.mkdir(parents=True, exist_ok=True)
    config = json.loads((pico / "config.json").read_text())
    small = config["vocab_size"]
    config["vocab_size"] = VOCABULARY
    depth = config["num_hidden_layers"]
    config["num_hidden_layers"] = depth * repeat
    config["hybrid_override_pattern"] *= repeat
    (out / "config.json").write_text(json.dumps(config, indent=1))
    data = (pico / "model.safetensors").read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    rng = np.random.default_rng(1)
    tensors, at, blobs = {}, 0, []
    for name, tensor in header.items():
        begin, end = tensor["data_offsets"]
        blob, shape = data[8 + length + begin:8 + length + end], tensor["shape"]
        if small in shape:
            shape = [VOCABULARY if extent == small else extent for extent in shape]
            values = rng.standard_normal(shape, dtype=np.float32) * (shape[-1] ** -0.5)
            if tensor["dtype"] == "BF16":
                blob = (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
            else:
                assert tensor["dtype"] == "F32", name
                blob = values.tobytes()
        layer = re.match(r"backbone\.layers\.(\d+)\.(.*)", name)
        for i in range(repeat if layer else 1):
            if layer:
                name = f"backbone.layers.{int(layer[1]) + i * depth}.{layer[2]}"
            tensors[name] = {"dtype": tensor["dtype"], "shape": shape, "data_offsets": [at, at + len(blob)]}
            at += len(blob)
            blobs.append(blob)
    text = json.dumps(tensors).encode()
    text += b" " * (-len(text) % 8)
    with open(out / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for blob in blobs:
            file.write(blob)
    tekken = root / "scripts" / "golden" / "tekken.py"
    subprocess.run([sys.executable, str(tekken), str(out / "tokenizer.json")], check=True)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
