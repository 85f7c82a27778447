import keras
import numpy as np

import keras_transfer as kt


def test_a_row_a_block_and_the_sum(small_backbone):
    model = kt.attach(small_backbone(), {"colour": kt.heads.Classifier(3), "light": kt.heads.Regressor()})
    kt.unfreeze(model, "block_3", norms=True)
    table = kt.summary(model)
    assert [row["block"] for row in table] == ["block_1", "block_2", "block_3", "colour", "light", "total"]
    conv = 8 * 3 * 3 * 12 + 12  # block 3: 8 channels in, 12 out
    assert table[2] == {
        "block": "block_3",
        "layers": 5,
        "parameters": conv + 4 * 12,
        "trainable": conv + 2 * 12,
        "norms": "training",
    }
    assert table[0]["trainable"] == 0 and table[0]["norms"] == "frozen"
    assert table[3] == {"block": "colour", "layers": 1, "parameters": 39, "trainable": 39, "norms": ""}
    assert table[-1]["parameters"] == model.count_params()
    assert table[-1]["trainable"] == sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert table[-1]["norms"] == "mixed"


def test_it_counts_inside_nested_models_after_freezing(small_backbone):
    outer = keras.Sequential([keras.Input((16, 16, 3)), small_backbone("inner")])
    model = kt.attach(outer, kt.heads.Classifier(3))
    kt.freeze(model)
    assert kt.summary(model)[-1]["trainable"] == 39
    kt.unfreeze(model)
    assert kt.summary(model)[-1]["trainable"] == sum(int(np.prod(w.shape)) for w in model.trainable_weights) > 39
    assert "block_2" in str(kt.summary(model)) and "frozen" in str(kt.summary(outer))
