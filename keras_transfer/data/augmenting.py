"""Random Keras layers made a function of (seed, epoch, batch), so that a run can be repeated and resumed exactly."""
import contextlib

import keras
import tensorflow as tf


class Augmentation:
    """Applies Keras layers to a batch, with randomness that depends on a given seed only.

    Random layers draw from their `keras.random.SeedGenerator`s, whose state moves with every call in an order that a
    parallel pipeline doesn't keep. While the layers run here, their generators hand out numbers derived from the seed.

    Args:
        layers: a Keras layer or a list of them, called in order with `training=True`.
        size: (height, width) of the photos in pixels, which must not change.
    """

    def __init__(self, layers, size):
        self.layers = list(layers) if isinstance(layers, (list, tuple)) else [layers]
        for layer in self.layers:
            if not isinstance(layer, keras.Layer):
                raise ValueError("`augment` must be a Keras layer or a list of Keras layers, such as "
                                 f"keras.layers.RandomFlip(\"horizontal\"). Received: {layer!r}")
        self.generators = generators(self.layers)
        self._check((8, *size, 3))

    @property
    def random(self):
        """Whether another seed can give other pixels."""
        return bool(self.generators)

    def __call__(self, photos, seed):
        """Augments photos, float32 `(batch, height, width, 3)`, pixels 0-255, by a seed, int64 `(2,)`."""
        with _drawing_from(self.generators, seed):
            for layer in self.layers:
                photos = layer(photos, training=True)
        return tf.cast(photos, tf.float32)

    def config(self):
        """What tells this augmentation from another one: the layers' configs, but for seeds and generated names."""
        return [(type(layer).__name__, _essence(layer.get_config())) for layer in self.layers]

    def _check(self, shape):
        photos = tf.random.stateless_uniform(shape, (0, 0), 0, 255)
        # the first call builds the layers, which may draw numbers, and whose variables can't be made inside a pipeline
        _, one, other = (self(photos, tf.zeros((2,), tf.int64)) for _ in range(3))
        if tuple(one.shape) != shape:
            raise ValueError(f"`augment` must keep the shape of the photos: given (batch, {shape[1]}, {shape[2]}, 3) it "
                             f"returned {('batch', *one.shape[1:])}. Crop and resize with `size` and `fit` instead.")
        if tf.reduce_max(tf.abs(one - other)) > 0.01:
            raise ValueError(f"`augment` can't be repeated: {', '.join(layer.name for layer in self.layers)} must draw all "
                             "random numbers with keras.random, from a keras.random.SeedGenerator held as an attribute.")


def generators(thing, seen=None):
    """Finds the seed generators held anywhere within layers, in a fixed order."""
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return []
    seen.add(id(thing))
    if isinstance(thing, keras.random.SeedGenerator):
        return [thing]
    if isinstance(thing, keras.Layer):
        held = vars(thing).values()
    elif isinstance(thing, dict):
        held = thing.values()
    else:
        held = thing if isinstance(thing, (list, tuple)) else ()
    return [found for one in list(held) for found in generators(one, seen)]


@contextlib.contextmanager
def _drawing_from(generators, seed):
    drawn = 0

    def draw(ordered=True):
        nonlocal drawn
        drawn += 1
        return tf.random.experimental.stateless_fold_in(seed, drawn)

    for generator in generators:
        generator.next = draw
    try:
        yield
    finally:
        for generator in generators:
            del generator.next


def _essence(config):
    if isinstance(config, dict):
        return {k: _essence(v) for k, v in config.items() if k not in ("seed", "name", "build_config")}
    return [_essence(v) for v in config] if isinstance(config, (list, tuple)) else config
