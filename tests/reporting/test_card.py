import keras_transfer as kt
from keras_transfer.backbones.origin import marked
from keras_transfer.reporting import card
from keras_transfer.reporting.sections import section


def facts(model, dataset, logs=None, about=None):
    parts = [{**section("kind", kt.heads.Classifier(3), [0], [[1.0, 0, 0]]), "rows": 1}]
    return card.card(model, dataset, parts, logs or {}, about or {})


def test_what_is_known_of_a_model_alone(small_backbone):
    model = kt.attach(small_backbone(), kt.heads.Classifier(3))
    kt.freeze(model)
    found = facts(model, None)
    overview = dict(found["overview"])
    frozen = model.count_params() - 39
    assert overview["Backbone"] == "name not recorded, photos of 16 x 16 pixels, 12 features"
    assert overview["Parameters"] == f"{frozen + 39:,}, of which 39 train and {frozen:,} are frozen"
    assert overview["Training"] == "not recorded" and overview["Measured on"] == "1 rows"
    made = dict(found["made_with"])
    assert made["Seed"] == "not recorded" and made["Weights it started from"] == "not recorded"
    assert made["Licence of those weights"].startswith("Not known") and "tensorflow" in made["Versions"]
    assert found["blocks"][-1][0] == "total"


def test_what_a_backbone_of_ours_a_set_and_a_run_add(photo_folder, small_backbone):
    train, valid, labels = kt.data.photos(photo_folder, size=16, seed=4)
    model = kt.attach(marked(small_backbone(), "MobileNet", None), kt.heads.Classifier(labels))
    assert card.about_of(model, valid) == {
        "backbone": "MobileNet",
        "weights": None,
        "seed": 4,
        "training_photos_here": False,
    }
    assert card.about_of(model, train)["training_photos_here"]
    about = {
        **card.about_of(model, valid),
        "part": "test",
        "data": "pets",
        "training_photos": 33,
        "options": {"Dropout": 0.1},
        "training_photos_here": True,
    }
    found = facts(model, valid, {"phase": ["head", "head", "tune"]}, about)
    overview, made = dict(found["overview"]), dict(found["made_with"])
    assert overview["Training"] == (
        "33 photos in pets; 2 epochs of the heads on the frozen backbone, then 1 epochs of the last "
        "layers of the backbone too"
    )
    assert overview["Measured on"] == (
        "9 photos of the test set, stretched to 16 x 16 pixels, among them photos that the model was trained on"
    )
    assert made["Weights it started from"] == "random" and made["Seed"] == "4" and made["Dropout"] == "0.1"


def test_a_history_without_phases(small_backbone):
    model = kt.attach(small_backbone(), kt.heads.Classifier(3))
    assert dict(facts(model, None, {"loss": [1, 2, 3]})["overview"])["Training"] == "3 epochs"
