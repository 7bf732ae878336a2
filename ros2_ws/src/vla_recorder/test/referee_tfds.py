# SPDX-License-Identifier: Apache-2.0

"""Iterates an RLDS dataset with tensorflow_datasets; run by tests with the Python of the referee environment.

    .referees/bin/python -I referee_tfds.py DATASET_FOLDER OUTPUT.npz

Writes every value of every step, stacked per episode, as ``<episode>/<path>``; images decoded. Prints the structure.
"""

import json
import os
import sys

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="", TF_ENABLE_ONEDNN_OPTS="0")

import numpy as np
import tensorflow_datasets as tfds


def flat(tree, prefix=""):
    """Nested dictionaries as one, with slashes."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    found = {}
    for key, value in tree.items():
        found.update(flat(value, f"{prefix}/{key}" if prefix else key))
    return found


def nested(features):
    """A features dictionary as plain ones."""
    return {key: nested(value) if hasattr(value, "items") else value for key, value in features.items()}


def main():
    """Entry point."""
    folder, output = sys.argv[1:]
    builder = tfds.builder_from_directory(folder)
    arrays = {}
    for number, episode in enumerate(builder.as_dataset(split="train")):
        metadata = {key: value.numpy() for key, value in episode["episode_metadata"].items()}
        steps = [flat(step) for step in episode["steps"].as_numpy_iterator()]
        for path in steps[0]:
            values = [step[path] for step in steps]
            arrays[f"{number}/{path}"] = np.array([v.decode() if isinstance(v, bytes) else v for v in values])
        for key, value in metadata.items():
            arrays[f"{number}/episode_metadata/{key}"] = np.array(value.decode() if isinstance(value, bytes) else value)
    structure = flat(nested(builder.info.features["steps"].feature))
    described = {path: [list(leaf.shape), leaf.tf_dtype.name] for path, leaf in structure.items()}
    np.savez(output, **arrays)
    about = {
        "name": builder.name,
        "version": str(builder.version),
        "episodes": builder.info.splits["train"].num_examples,
    }
    print(json.dumps({**about, "steps": described, "description": builder.info.description}))


if __name__ == "__main__":
    main()
