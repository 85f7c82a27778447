"""Several tasks from one table of photos, some labels missing, class weights for each head.

    python examples/several_tasks.py LABELS.csv PHOTOS BREED SPECIES

LABELS.csv has a column `file` and the two columns named, both of classes; empty cells are missing labels.
"""

import sys

import keras_transfer as kt

table, photos, *targets = sys.argv[1:]
train, valid, labels = kt.data.table(table, folder=photos, targets=dict.fromkeys(targets, "class"), size=96)
heads = {name: kt.heads.Classifier(labels[name], loss_weight=weight) for name, weight in zip(targets, (1.0, 0.5))}
model = kt.attach(kt.backbone("EfficientNetLite0", input_shape=(96, 96, 3)), heads)

history = kt.fine_tune(model, kt.data.balance(train), valid, head_epochs=10, epochs=3, seed=0)
for name in targets:
    print(name, "held-out accuracy:", max(history.history[f"val_{name}_accuracy"]))
