"""Each difference that a written file could have is seen. That none is seen where there is none: test_writing."""

import numpy as np
import pytest

from keras_transfer.exporting.verifying import _without_broken, difference, live, relative


def test_relative_to_the_largest_output_by_hand():
    assert relative([[1.0, 2.0]], [[1.0, 4.0]]) == 0.5
    assert relative([0.0, 1e-9], [0.0, 0.0]) == 1e-9  # nothing to be relative to
    assert relative([np.nan, 1.0], [np.nan, 1.0]) == 0 and relative([np.nan], [1.0]) == float("inf")
    assert relative([1.0], [[1.0]]) == float("inf") and relative([], []) == 0


def test_the_live_model_is_the_model_itself(dense):
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    said = live(dense)({"values": x})
    expected = dense.model.predict(x, verbose=0)
    assert set(said) == {"kind", "rank"} and all(np.allclose(said[k], expected[k], atol=1e-6) for k in said)
    assert live(dense, "features")({"values": x})["features"].shape == (3, 5)


@pytest.fixture
def right():
    """Outputs log(p) for p = (0.5, 0.3, 0.2), and what should be said of them."""
    likely = np.array([[0.5, 0.3, 0.2]])
    return np.log(likely), {
        "kind/probabilities": likely,
        "kind/probability": np.array([0.5]),
        "kind/label": np.array([b"a"], object),
        "kind/top_labels": np.array([[b"a", b"b"]], object),
        "kind/top_probabilities": np.array([[0.5, 0.3]]),
    }


@pytest.mark.parametrize(
    "key, wrong, expected",
    [
        (None, None, 0.0),
        ("kind/probabilities", [[0.5, 0.3, 0.25]], 0.1),
        ("kind/probability", [0.4], 0.2),
        ("kind/label", [b"b"], 0.4),
        ("kind/top_labels", [[b"a", b"c"]], 0.2),
        ("kind/top_probabilities", [[0.5, 0.25]], 0.1),
    ],
)
def test_every_wrong_answer_counts(dense, right, key, wrong, expected):
    outputs, said = right
    if key:
        said[key] = np.array(wrong, said[key].dtype)
    assert difference(dense, "kind", said, outputs) == pytest.approx(expected, abs=1e-6)


def test_wrong_labels_of_several(network):
    from keras_transfer.exporting.subject import subject

    outputs, likely = np.array([[2.0, -2.0]]), 1 / (1 + np.exp([[-2.0, 2.0]]))
    said = {"tags/probabilities": likely, "tags/label": np.array([b"warm"], object)}
    assert difference(subject(network), "tags", said, outputs) < 1e-6
    assert difference(
        subject(network), "tags", {**said, "tags/label": np.array([b"warm|cold"], object)}, outputs
    ) == float("inf")


def test_the_broken_row_must_be_empty():
    good = {
        "image/readable": np.array([True, False]),
        "p": np.array([0.5, 0.0]),
        "label": np.array([b"a", b""], object),
    }
    assert {k: v.tolist() for k, v in _without_broken(good, "s").items()} == {
        "image/readable": [True],
        "p": [0.5],
        "label": [b"a"],
    }
    for key, wrong in [("p", [0.5, 0.1]), ("p", [0.5, np.nan]), ("label", [b"a", b"b"])]:
        with pytest.raises(ValueError, match="answers a broken photo with"):
            _without_broken({**good, key: np.array(wrong, good[key].dtype)}, "s")
    with pytest.raises(ValueError, match="all but the last are readable"):
        _without_broken({**good, "image/readable": np.array([True, True])}, "s")
