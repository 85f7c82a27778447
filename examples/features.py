"""Features once: many epochs of a head in seconds, then the last block of the backbone, then scikit-learn.

    python examples/features.py FOLDER [CACHE]

FOLDER holds a folder of photos for each class. Without it, scikit-learn's scanned digits are used. The features lie in
CACHE, and a second run finds them there; without it they go with the process.
"""

import sys
import tempfile

from sklearn.linear_model import LogisticRegression

import keras_transfer as kt

folder = sys.argv[1] if len(sys.argv) > 1 else kt.data.digits(tempfile.mkdtemp() + "/digits")
cache = sys.argv[2] if len(sys.argv) > 2 else None
train, valid, labels = kt.data.photos(folder, size=96, validation=0.2)
model = kt.attach(kt.backbone("EfficientNetLite0", input_shape=(96, 96, 3)), kt.heads.Classifier(labels))


def tune(epochs):
    """Trains what isn't frozen, on features of what is; `tail` and `model` share their layers."""
    features, tail = kt.cache_features(model, train, cache)
    held_out, _ = kt.cache_features(model, valid, cache)
    tail.compile(optimizer="adam", **kt.objectives(tail))
    return tail.fit(features, epochs=epochs, validation_data=held_out, verbose=0).history["val_accuracy"][-1]


kt.freeze(model)
print(f"the head on frozen features: {tune(20):.3f} of the held-out photos are right")
kt.unfreeze(model, last="block15")
print(f"with the last block: {tune(5):.3f}")

x, y = kt.features(model, train)  # what the heads read, of the tuned network
score = LogisticRegression(max_iter=1000).fit(x, y).score(*kt.features(model, valid))
print(f"scikit-learn on {x.shape[1]} features: {score:.3f}")
