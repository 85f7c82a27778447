"""Has timm's network the features of keras_transfer's? Run it twice, first in the environment of keras_transfer.

python benchmarks/peers/same_features.py FOLDER FEATURES.npz             writes the pixels and features of 16 photos
python benchmarks/peers/same_features.py FOLDER FEATURES.npz WEIGHTS     compares timm's (the PyTorch peers)
"""

import pathlib
import sys

import numpy as np
from common import few, listed
from PIL import Image


def write(folder, path, size=160):
    """Writes pixels `(photos, size, size, 3)`, 0-255, and features `(photos, units)`."""
    import keras_transfer as kt

    pixels = []
    for file in few(*listed(folder), 16)[0][:16]:
        with Image.open(file) as photo:
            pixels.append(np.asarray(photo.convert("RGB").resize((size, size)), "float32"))
    found = kt.backbone("EfficientNetLite0", input_shape=(size, size, 3))(np.stack(pixels), training=False)
    np.savez(path, pixels=np.stack(pixels), features=np.asarray(found))


def compare(path, weights):
    """Prints the largest difference."""
    import torch
    from timm_lite0 import MEAN, STD, features, network

    saved = np.load(path)
    pixels = torch.tensor((saved["pixels"] / 255 - MEAN) / STD, dtype=torch.float32).permute(0, 3, 1, 2)
    model = network(weights).to(memory_format=torch.channels_last)
    off = np.abs(features(model, pixels).numpy() - saved["features"]).max()
    print(f"largest difference {off:.1e}, largest feature {saved['features'].max():.1f}, {len(pixels)} photos")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        write(pathlib.Path(sys.argv[1]), sys.argv[2])
    elif len(sys.argv) == 4:
        compare(sys.argv[2], sys.argv[3])
    else:
        sys.exit(__doc__)
