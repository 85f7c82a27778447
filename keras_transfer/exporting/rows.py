"""The encoded photos of one request to pixels, in TensorFlow operations that any server of SavedModels can run."""
import tensorflow as tf

from ..data.decoding import decode

PARALLEL = 8  # photos decoded at a time


def strict(bytes, size, fit):
    """Decodes all rows; a broken one fails the whole request.

    Args:
        bytes: string `(batch,)`.
        size: (height, width) in pixels.
        fit: see `kt.data.decode`.

    Returns:
        float32 `(batch, height, width, 3)`, pixels 0-255, and bool `(batch,)`, all True.
    """
    photos = tf.map_fn(lambda one: decode(one, size, fit), bytes, parallel_iterations=PARALLEL,
                       fn_output_signature=tf.TensorSpec((*size, 3), tf.float32))
    return photos, tf.ones_like(bytes, tf.bool)


def tolerant(bytes, size, fit):
    """Decodes the rows that can be decoded; the others are black, and said to be unreadable.

    A graph can't catch an error, but a `tf.data` pipeline can drop the elements that raised one. So the rows go through
    a pipeline with their numbers, and what comes out is put back in its place. The kernels are stock TensorFlow's.

    The arguments and what is returned are those of `strict`, with False for what can't be read.
    """
    count = tf.shape(bytes, out_type=tf.int64)[0]
    numbers = tf.data.Dataset.range(count)
    photos = numbers.map(lambda k: (k, decode(tf.gather(bytes, k), size, fit)), PARALLEL, deterministic=True)
    # one row more, so that there is a batch even if nothing can be read; it's cut off below
    end = tf.data.Dataset.from_tensors((count, tf.zeros((*size, 3))))
    batch = photos.ignore_errors().concatenate(end).batch(count + 1)
    places, good = batch.with_options(_plain()).get_single_element()
    shape = tf.stack([count + 1, *size, 3])
    readable = tf.scatter_nd(places[:, None], tf.ones_like(places), shape[:1])[:-1] > 0
    return tf.ensure_shape(tf.scatter_nd(places[:, None], good, shape)[:-1], (None, *size, 3)), readable


def _plain():
    """A pipeline of a few elements isn't worth being tuned at every request."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return options


READERS = {"row": tolerant, "request": strict}
