"""timm's features extracted once, and scikit-learn's LogisticRegression.

python benchmarks/peers/timm_features.py TRAIN TEST WEIGHTS [--size 160]     (in the environment of the PyTorch peers)
"""

import numpy as np
import torch
from common import WEIGHTS, Clock, arguments, few, listed
from sklearn.linear_model import LogisticRegression
from timm_lite0 import features, loader, network


def extracted(model, files, labels, size):
    return np.concatenate([features(model, pixels).numpy() for pixels, _ in loader(files, labels, size)])


def trained(model, files, labels, size, clock):
    with clock("features"):
        found = extracted(model, files, labels, size)
    with clock("head"):
        return LogisticRegression(max_iter=1000).fit(found, labels)


def main():
    given, clock = arguments(__doc__.partition("\n\n")[0], WEIGHTS), Clock()
    model = network(given.weights).to(memory_format=torch.channels_last)
    trained(model, *few(*listed(given.train)), given.size, Clock())
    with clock("files"):
        files, labels = listed(given.train)
    head = trained(model, files, labels, given.size, clock)
    test_files, test_labels = listed(given.test)
    clock.tell(head.score(extracted(model, test_files, test_labels, given.size), test_labels), len(files))


if __name__ == "__main__":
    main()
