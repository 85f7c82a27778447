"""Freezing, a found learning rate, and unfreezing during one `fit`, with Keras's own `compile` and `fit`.

python examples/by_hand.py FOLDER
"""

import sys

import keras

import keras_transfer as kt

train, valid, labels = kt.data.photos(sys.argv[1], size=96, augment=[keras.layers.RandomFlip("horizontal")])
model = kt.attach(kt.backbone("EfficientNetLite0", input_shape=(96, 96, 3)), kt.heads.Classifier(labels))

kt.freeze(model)
model.compile(optimizer="adam", **kt.objectives(model))
found = kt.find_learning_rate(model, train, lowest=1e-4, steps=40)
print(f"learning rate: {found.suggestion:.2g}")

model.compile(optimizer=keras.optimizers.Adam(found.suggestion / 10), **kt.objectives(model))
model.fit(train, epochs=3, validation_data=valid, callbacks=[kt.GradualUnfreezing({1: "block15", 2: "block14"})])

kt.unfreeze(model, last=0.1)
model.compile(optimizer=kt.layerwise(keras.optimizers.Adam(1e-4), model), **kt.objectives(model))
model.fit(train, epochs=1, validation_data=valid)
print(kt.summary(model))
