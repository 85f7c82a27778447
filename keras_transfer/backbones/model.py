"""A model of one's own as a backbone."""
import keras

from . import outputs, weights as files


def build(model, input_shape=None, weights="pretrained", pooling="avg", at=None, name="the given model"):
    """Wraps a Functional or Sequential model, sharing its layers. The arguments are those of `kt.backbone`.

    Raises:
        ValueError: for a model that has no graph of layers, several outputs and no `at`, or another input shape.
    """
    _check_graph(model, name)
    if weights is None:
        raise ValueError(f"weights=None would throw away the weights of {name}. For fresh ones give "
                         "keras.models.clone_model(model).")
    shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    if input_shape is not None and [tuple(input_shape)] != shapes:
        raise ValueError(f"{name} takes an input of shape {', '.join(map(str, shapes))} and keeps it. "
                         f"Received: input_shape={input_shape!r}. Leave it out.")
    if at is None and len(model.outputs) > 1:
        raise ValueError(f"{name} has {len(model.outputs)} outputs. Name the layer that gives the features in `at`.")
    network = outputs.network(model, pooling, at)
    if weights != "pretrained":
        files.load(weights, [network, model], name)
    return network


def load(path):
    """Returns the model in the `.keras` file at `path`, or says that there is none."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}, given as a backbone.")
    return files.stored(path)


def _check_graph(model, name):
    if isinstance(model, keras.Sequential):
        if not model.built:
            raise ValueError(f"{name} is a Sequential model that doesn't know its input yet. Give it a keras.Input as "
                             "its first layer, or call it once.")
        return
    own = next(cls for cls in type(model).__mro__ if "call" in vars(cls))
    if not isinstance(model, keras.Function) or own.__module__.split(".")[0] not in ("keras", "keras_transfer"):
        raise ValueError(f"{name} is a subclassed model ({type(model).__name__}): its graph of layers lies in Python "
                         "code and can't be cut or frozen by depth. Build it with the functional API: "
                         "keras.Model(inputs, outputs).")
