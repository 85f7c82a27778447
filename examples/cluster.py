"""One script for a laptop, for a machine with several GPUs, and for several machines.

    python examples/cluster.py PHOTOS CHECKPOINTS EXPORT

PHOTOS holds a folder of photos for each class, the same on every machine. For several machines, start it on each with
TF_CONFIG set, the index counting from 0:

    TF_CONFIG='{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}'

If one of them fails, start all again: training goes on from the last whole epoch.
"""

import sys

import keras_transfer as kt

photos, checkpoints, served = sys.argv[1:]
strategy = kt.strategy("auto")  # before anything else with TensorFlow, which joins a cluster only as it starts
print(f"training on {strategy.num_replicas_in_sync} replica(s)")

batch = 32 * strategy.num_replicas_in_sync  # of all replicas together
train, valid, labels = kt.data.photos(photos, size=96, batch_size=batch, validation=0.2)
with strategy.scope():
    backbone = kt.backbone("EfficientNetLite0", input_shape=(96, 96, 3))
    model = kt.attach(backbone, kt.heads.Classifier(labels))

kt.fine_tune(model, train, valid, head_epochs=5, epochs=3, directory=checkpoints, seed=0)
print(model.evaluate(valid, verbose=0, return_dict=True))
print(kt.export(model, served))
