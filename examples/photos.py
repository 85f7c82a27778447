"""A folder of photos to a trained model, and what it says of new photos.

    python examples/photos.py FOLDER [PHOTO ...]

FOLDER holds a folder of photos for each class. Without it, scikit-learn's scanned digits are used.
"""

import sys
import tempfile

import keras_transfer as kt

folder = sys.argv[1] if len(sys.argv) > 1 else kt.data.digits(tempfile.mkdtemp() + "/digits")
train, valid, labels = kt.data.photos(folder, size=96, validation=0.2)
backbone = kt.backbone("EfficientNetLite0", input_shape=(96, 96, 3))
model = kt.attach(backbone, kt.heads.Classifier(labels, dropout=0.2))

history = kt.fine_tune(model, train, valid, head_epochs=5, epochs=3, seed=0)
print(kt.summary(model))
print(model.evaluate(valid, verbose=0, return_dict=True))

photos = sys.argv[2:] or kt.data.info(valid).files[:5]
print(kt.predict(model, photos))
