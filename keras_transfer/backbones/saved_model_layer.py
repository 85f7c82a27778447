"""A loaded SavedModel as one Keras layer whose weights are the SavedModel's own variables."""

import hashlib
import re

import keras
import tensorflow as tf

from .. import _check, _compat, distributing
from ..saved_model import embedding, fetching, hazards, reading

_ENDPOINTS = ("serve", "serving_default", "default")  # of a SavedModel that can't be called itself
_TRAINING = "{}_train"  # the endpoint beside it that updates statistics
_trusted = set()  # digests of the graphs that this process was told to run


@keras.saving.register_keras_serializable("keras_transfer")
class SavedModelLayer(keras.layers.Layer):
    """Calls a SavedModel; `trainable` decides whether its variables train.

    It trains like `hub.KerasLayer` on the old Keras: `training` reaches the traced function only while the layer is
    trainable, so frozen statistics stay, and the regularization losses of the file count only then. Its weights are
    the SavedModel's variables themselves, not copies.

    In a `.keras` file it carries the graph, so the source may be gone, and loading asks for `safe_mode=False`.

    Args:
        handle: where the SavedModel lies, see `fetching.folder`.
        signature: the name of a signature or endpoint, or a pair of names (for inference, for training); None: the
            object itself if it can be called, else "serve", "serving_default" or "default". Beside an endpoint
            NAME, NAME_train is taken for training if there is one.
        output_key: which of several outputs to return; None: the only one, or the dict of all.
        arguments: a dict of further arguments for each call.
        tags: the tags of the graph to load; None: chosen.
        allow_unsafe: whether operations that reach outside may run.
        payload: the graph as text, instead of what `handle` names.

    Input shape:
        What the signature takes: a tensor, or a dict of tensors.

    Raises:
        ValueError: it's no SavedModel, it's damaged or unsafe, or has no such signature or output.
    """

    def __init__(
        self,
        handle,
        *,
        signature=None,
        output_key=None,
        arguments=None,
        tags=None,
        allow_unsafe=False,
        payload=None,
        trainable=False,
        **options,
    ):
        options.setdefault("dtype", "float32")  # what goes into a traced graph must have the dtypes it was traced with
        super().__init__(trainable=trainable, autocast=False, **options)
        self.supports_jit = False
        self.handle, self.signature, self.output_key = str(handle), signature, output_key
        self.arguments, self.tags = dict(arguments or {}), tags
        # TensorFlow reads the assets again when the model is exported, so the folder stays as long as the layer
        path, self._keep = embedding.unpacked(payload) if payload else fetching.folder(handle)
        model = reading.read(path)
        self.payload = payload or embedding.packed(path)
        _judge(model, self.payload, self.handle, allow_unsafe)
        graph, chosen = reading.chosen(model, tags)
        self.is_tf1 = not graph.object_graph_def.nodes
        self._signatures = sorted(reading.signatures(graph))
        self._loaded = reading.load(path, chosen)
        try:
            self._infer, self._train = self._functions()
            self._track()
        except (AttributeError, TypeError, KeyError) as error:  # objects of other kinds than they should be
            raise ValueError(f"The SavedModel {self.handle!r} is damaged: {error}. Get it again.") from error
        listed = getattr(self._loaded, "regularization_losses", None)
        self._losses_of_file = [f for f in listed if callable(f)] if isinstance(listed, (list, tuple)) else []
        self.built = True

    # --- what the file offers

    @property
    def offers(self):
        """What can be called and trained, for errors."""
        called = ["itself"] * callable(self._loaded) + [repr(name) for name in self._signatures]
        return f"It can be called as {', '.join(called) or 'nothing'} and has {len(self.weights)} variables"

    def specs(self):
        """Returns what the function takes: a `tf.TensorSpec`, or a dict of them; None if the file doesn't tell."""
        if not _is_object(self._infer):
            named = _named_inputs(self._infer)
            return next(iter(named.values())) if len(named) == 1 else named
        seen = [function.structured_input_signature[0] for function in _traces(self._infer)]
        seen = [arguments[0] for arguments in seen if arguments]
        return max(seen, key=lambda spec: sum(str(s.shape).count("None") for s in tf.nest.flatten(spec)), default=None)

    def _functions(self):
        """The functions for inference and for training; None for training if the first one does both."""
        name = self.signature
        if name is None and not callable(self._loaded):
            name = next((n for n in _ENDPOINTS if self._endpoint(n) is not None), None)
            if name is None:
                name = self._signatures[0] if len(self._signatures) == 1 else _nothing_to_call(self)
        if name is None:
            return self._loaded, None
        first, second = name if isinstance(name, (tuple, list)) else (name, None)
        train = self._known(second) if second else self._endpoint(_TRAINING.format(first))
        return self._known(first), train

    def _endpoint(self, name):
        function = getattr(self._loaded, name, None) if name.isidentifier() else None
        return function if callable(function) else getattr(self._loaded, "signatures", {}).get(name)

    def _known(self, name):
        function = self._endpoint(name)
        return (
            function
            if function is not None
            else _check.one_of(name, self._signatures, f"signature of {self.handle!r}:")
        )

    def _track(self):
        everything = _listed(self._loaded, "variables")
        trainable = _listed(self._loaded, "trainable_variables")
        if not everything:  # a plain module, or a file with signatures only: what the functions use
            used = [f for f in (self._infer, self._train) if f is not None]
            everything = _unique(v for f in used for trace in _traces(f) for v in trace.graph.variables)
            trainable = [v for v in everything if v.trainable and not self.is_tf1]
        ids = {id(v) for v in trainable}
        self.can_train = bool(ids)
        for variable in [*trainable, *(v for v in everything if id(v) not in ids)]:
            name = re.sub(r"[^A-Za-z0-9_.>-]", "_", variable.name.split(":")[0])
            _compat.alias(self, variable, name, trainable=id(variable) in ids)

    # --- as a layer

    def call(self, inputs, training=None):
        training = bool(training) and self.trainable
        function, options = self._infer, dict(self.arguments)
        if self._train is not None:
            function = self._train if training else self._infer
        elif _takes_training(function):
            options["training"] = training and _was_traced_for_training(function)
        # TensorFlow can't call a loaded function in the scope of a strategy other than in a replica
        outputs = distributing.in_replica(self._run, function, inputs, options)
        if self.trainable:
            for loss in self._losses_of_file:
                self.add_loss(distributing.in_replica(loss))
        return self._one_of(outputs)

    def _run(self, function, inputs, options):
        if _is_object(function):
            return function(_cast(inputs, self.specs()), **options)
        named = _named_inputs(function)
        given = inputs if isinstance(inputs, dict) else {next(iter(named)): inputs}
        return function(**{k: _cast(v, named.get(k)) for k, v in given.items()}, **options)

    def _one_of(self, outputs):
        if self.output_key is not None:
            if not isinstance(outputs, dict):
                raise ValueError(
                    f"`output_key` {self.output_key!r}: {self.handle!r} returns one tensor without a name. "
                    "Leave it out."
                )
            return outputs[_check.one_of(self.output_key, list(outputs), f"output of {self.handle!r}:")]
        return next(iter(outputs.values())) if isinstance(outputs, dict) and len(outputs) == 1 else outputs

    def get_config(self):
        return {
            **super().get_config(),
            "handle": self.handle,
            "signature": self.signature,
            "tags": self.tags,
            "output_key": self.output_key,
            "arguments": self.arguments,
            "payload": self.payload,
        }

    @classmethod
    def from_config(cls, config):
        if _compat.in_safe_mode():
            raise ValueError(
                "This file holds a SavedModel, which is a program that runs when it's loaded and called. "
                "If you trust where the file comes from, load it with safe_mode=False."
            )
        return cls(**config)


def _judge(model, payload, handle, allow_unsafe):
    """Refuses a graph that reaches outside, unless this process was told to run this very graph."""
    digest = hashlib.sha256(payload.encode()).digest()
    if allow_unsafe:
        _trusted.add(digest)
    found = [] if digest in _trusted else hazards.hazards(model)
    if found:
        shown = "; ".join(map(str, found[:5])) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
        raise ValueError(
            f"The SavedModel {handle!r} is refused, since it reaches outside: {shown}. Look at it with "
            "kt.inspect; if you trust it, give kt.backbones.Hub(handle, allow_unsafe=True)."
        )


def _nothing_to_call(layer):
    raise ValueError(
        f"The SavedModel {layer.handle!r} can't be called itself and no signature is named. "
        f"{layer.offers}. Name one: kt.backbones.Hub(handle, signature=...)."
    )


def _is_object(function):
    """Whether a function takes its input by place, as a traced object does, and not by name, as a signature."""
    return not hasattr(function, "structured_input_signature")


def _traces(function):
    if not _is_object(function):
        return [function]
    function = function if hasattr(function, "concrete_functions") else getattr(function, "__call__", function)
    return getattr(function, "concrete_functions", [])


def _named_inputs(function):
    return function.structured_input_signature[1]


def _takes_training(function):
    """Whether a traced function has an argument `training`."""
    function = function if hasattr(function, "function_spec") else getattr(function, "__call__", function)
    spec = getattr(function, "function_spec", None)
    return spec is not None and "training" in (*spec.fullargspec.args, *spec.fullargspec.kwonlyargs)


def _was_traced_for_training(function):
    return any(
        value is True for trace in _traces(function) for value in tf.nest.flatten(trace.structured_input_signature)
    )


def _unique(variables):
    return list({id(v): v for v in variables}.values())


def _listed(loaded, name):
    """The variables that a loaded object lists under a name; a damaged file may have anything there."""
    listed = getattr(loaded, name, None)
    return _unique(v for v in listed if isinstance(v, tf.Variable)) if isinstance(listed, (list, tuple)) else []


def _cast(inputs, specs):
    """Numbers in the dtype that the graph was traced with; anything else as it is."""
    if isinstance(inputs, dict):
        return {k: _cast(v, specs.get(k) if isinstance(specs, dict) else None) for k, v in inputs.items()}
    wanted = getattr(specs, "dtype", None)
    if wanted is None or not hasattr(inputs, "dtype") or tf.string in (wanted, inputs.dtype) or isinstance(specs, dict):
        return inputs
    return tf.cast(inputs, wanted)
