"""Pixels 0-255 to what a network was trained on, as operations of the network itself."""
import keras
import numpy as np

# Means and deviations of ImageNet's photos, red, green, blue.
MEAN = np.float32([0.485, 0.456, 0.406])
DEVIATION = np.float32([0.229, 0.224, 0.225])
CAFFE_MEAN = np.float32([103.939, 116.779, 123.68])     # blue, green, red


def three_channels(pixels):
    """Brings grey or RGBA pixels to three channels: grey is repeated, alpha is dropped.

    Args:
        pixels: a symbolic tensor (batch, height, width, 1, 3 or 4).

    Returns:
        A symbolic tensor (batch, height, width, 3).
    """
    if pixels.shape[-1] == 1:
        return keras.layers.Concatenate(name="grey_to_rgb", dtype="float32")([pixels] * 3)
    return pixels[..., :3] if pixels.shape[-1] == 4 else pixels


def scaled(pixels, kind):
    """Scales RGB pixels as the weights of a family expect them.

    The operations are those of Keras's `preprocess_input`, in its order, so that the features are equal bit for bit.
    They stay in float32 under a mixed policy: the pixels are rounded once, after the scaling.

    Args:
        pixels: a symbolic tensor (batch, height, width, 3), values 0-255.
        kind: "tf" (-1 to 1), "torch" (zero mean and unit variance of ImageNet), "caffe" (blue first, zero mean)
            or "none" (the network scales for itself).

    Returns:
        A symbolic tensor of the same shape.

    Example:
        >>> scaled(keras.Input((224, 224, 3)), "tf").shape
        (None, 224, 224, 3)
    """
    ops = keras.ops
    if kind == "tf":
        return ops.subtract(ops.divide(pixels, 127.5), 1.0)
    if kind == "torch":
        return ops.divide(ops.subtract(ops.divide(pixels, 255.0), MEAN), DEVIATION)
    if kind == "caffe":
        return ops.subtract(ops.flip(pixels, axis=-1), CAFFE_MEAN)
    return pixels
