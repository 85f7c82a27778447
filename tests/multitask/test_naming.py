"""Methods by name, as a shell gives them."""

import types

import pytest

import keras_transfer as kt
from keras_transfer.multitask import naming


def options(**given):
    return types.SimpleNamespace(**{"weighting": None, "at": None, "sharing": None, "baselines": False, **given})


def test_names_are_those_of_the_package_whatever_their_case():
    for name in ("pcgrad", "PCGrad", "PCGRAD"):
        assert type(naming.weighting_named(name)) is kt.multitask.PCGrad
    assert type(naming.sharing_named("mmoe")) is kt.multitask.MMoE
    assert naming.weighting_named("gradnorm").get_config()["alpha"] == kt.multitask.GradNorm().get_config()["alpha"]


@pytest.mark.parametrize("name, said", [
    ("pcgard", "Unknown weighting 'pcgard'. Did you mean 'PCGrad'"),
    ("mmoe", "Unknown weighting 'mmoe'."),
    ("weighting", "Unknown weighting 'weighting'."),  # what all have in common is no method
    ("multitask", "Unknown weighting 'multitask'."),
    ("fixed", "The weighting Fixed needs to be told weights, which a shell can't. Use it from Python, or take another"),
])
def test_unknown_ones_are_refused_with_near_ones(name, said):
    with pytest.raises(ValueError) as error:
        naming.weighting_named(name)
    assert said in str(error.value)


def test_sharing_layers_that_want_places_are_refused():
    with pytest.raises(ValueError, match="Unknown sharing layer 'mmo'. Did you mean 'MMoE'"):
        naming.sharing_named("mmo")
    with pytest.raises(ValueError, match="Unknown sharing layer 'sharing'"):
        naming.sharing_named("sharing")
    for name in ("crossstitch", "Sluice", "NDDR"):
        with pytest.raises(ValueError, match="shares at inner stages of the backbone, which a shell can't name. Use it from Py"):
            naming.sharing_named(name)
    with pytest.raises(ValueError, match="MTAN needs to be told at, which a shell can't"):
        naming.sharing_named("mtan")


def test_soft_sharing_has_a_default_strength():
    for name in ("l2sharing", "TraceNormSharing"):
        assert naming.sharing_named(name).strength == 0.01


def test_what_is_chosen():
    two = {"a": "class", "b": "number"}
    assert naming.chosen(options(), {}) == (None, None)
    given = options(weighting="uncertainty", sharing="mmoe", at="features", baselines=True)
    weighting, sharing = naming.chosen(given, two)
    assert type(weighting).__name__ == "Uncertainty" and type(sharing).__name__ == "MMoE"


@pytest.mark.parametrize("given, said", [
    ({"weighting": "pcgrad", "baselines": True}, "--weighting, --baselines can be used with several targets"),
    ({"sharing": "mmoe"}, "--sharing can be used with several targets only."),
])
def test_one_target_has_nothing_to_weigh(given, said):
    for targets in ({}, {"a": "class"}):
        with pytest.raises(ValueError, match=said):
            naming.chosen(options(**given), targets)


def test_a_place_without_a_method():
    with pytest.raises(ValueError, match="--at says where a method compares gradients. Give --weighting too"):
        naming.chosen(options(at="features"), {"a": "class", "b": "class"})
