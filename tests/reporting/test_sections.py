import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.reporting.sections import section


class Bare(kt.heads.Head):
    """A head that doesn't say how to read its outputs."""


@pytest.mark.parametrize(
    "head, truth, outputs, kind",
    [
        (kt.heads.Classifier(2), [1], [[0.0, 3.0]], "classes"),
        (kt.heads.Ordinal(3), [2], [[5.0, 4.0]], "classes"),
        (kt.heads.MultiLabel(2), [[1, 0]], [[2.0, -2.0]], "labels"),
        (kt.heads.Regressor(), [1.5], [[1.5]], "numbers"),
    ],
)
def test_each_kind_of_head_reads_its_outputs(head, truth, outputs, kind):
    part = section("it", head, np.array(truth), np.array(outputs))
    assert part["kind"] == kind and part["name"] == "it" and part["mistakes"] == [] and part["missing"] == 0
    assert part["tiles"][0]["value"] in ("100.0\N{NO-BREAK SPACE}%", "0")


def test_a_head_of_another_kind_has_no_figures():
    assert section("it", Bare(2), np.zeros(1), np.zeros((1, 2))) == {
        "name": "it",
        "kind": "other",
        "about": "Bare",
        "mistakes": [],
    }
