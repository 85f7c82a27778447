"""Several tasks from one table: what each gains from the others, where they are at odds, and what to do about it.

    python examples/multitask.py LABELS.csv PHOTOS COLUMN:KIND COLUMN:KIND ...

LABELS.csv has a column `file` and the columns named, each of KIND class or number; empty cells are missing labels.
"""

import sys

import keras_transfer as kt

table, photos, *columns = sys.argv[1:]
targets = dict(column.rsplit(":", 1) for column in columns)
train, valid, labels = kt.data.table(table, folder=photos, targets=targets, size=96)
make = {"class": kt.heads.Classifier, "number": kt.heads.Regressor}
heads = {name: make[kind](labels[name]) for name, kind in targets.items()}
backbone = kt.backbone("EfficientNetLite0", input_shape=(96, 96, 3))
model = kt.attach(backbone, heads, sharing=kt.multitask.MMoE(experts=4))

# Each task alone, then all together: the same frozen features, the same number of epochs.
kt.freeze(model)
baselines = kt.multitask.baselines(model, train, valid, epochs=10)
learner = kt.MultiTask(model, kt.multitask.Uncertainty())
history = kt.fine_tune(learner, train, valid, head_epochs=10, epochs=0, seed=0).history
print(kt.multitask.gain(model, baselines, valid))
print("weights:", {name: round(history[f"{name}_weight"][-1], 3) for name in targets})

# Do their gradients oppose each other? Then a method that looks at them may be worth its cost.
found = kt.multitask.conflicts(model, train)
print(found)
learner = kt.MultiTask(model, kt.multitask.PCGrad(), at="features")
kt.fine_tune(learner, train, valid, head_epochs=0, epochs=3, seed=0)
print(kt.multitask.gain(model, baselines, valid))
model.save("multitask.keras")
