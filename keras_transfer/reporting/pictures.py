"""Pictures as text in the page: photos, where the network looked, a matrix of many classes."""
import base64

import numpy as np
import tensorflow as tf

_SIDE = 256  # of a photo in the page, in pixels at most
# Ends and middle of the colours of attention, told apart by their lightness alone: dark violet, orange, pale yellow.
_HEAT = np.array([[20, 10, 60], [190, 55, 85], [250, 160, 40], [252, 250, 190]], "float32")
_BLUE = (30, 136, 209)  # seen on white and on black


def photo(pixels):
    """Returns a JPEG data URI of `(height, width, 1, 3 or 4)` pixels, 0-255."""
    return _jpeg(_fitted(pixels))


def looked_at(pixels, heat):
    """Returns a JPEG data URI of the photo in grey, coloured where `heat` `(rows, columns)`, 0-1, is high."""
    pixels = _fitted(pixels)
    heat = tf.image.resize(heat[..., None], pixels.shape[:2], method="bicubic").numpy()[..., 0].clip(0, 1)
    place = heat * (len(_HEAT) - 1)
    low = np.minimum(place.astype(int), len(_HEAT) - 2)
    colour = _HEAT[low] + (_HEAT[low + 1] - _HEAT[low]) * (place - low)[..., None]
    grey = pixels.mean(-1, keepdims=True)
    return _jpeg(grey * 0.45 + colour * 0.55)


def matrix(shares):
    """Returns a PNG data URI of `shares` `(rows, columns)`, 0-1: a pixel each, transparent at 0, blue at 1."""
    alpha = np.where(shares > 0, 70 + 185 * np.asarray(shares), 0)  # a single mistake is to be seen, too
    pixels = np.dstack([np.broadcast_to(part, alpha.shape) for part in (*_BLUE, alpha)]).astype("uint8")
    return _uri(tf.io.encode_png(pixels), "png")


def _fitted(pixels):
    """Three channels, 0-255, no larger than the page shows; ranges that begin below 0 or end at 1 are spread."""
    pixels = np.asarray(pixels, "float32")
    pixels = pixels[..., :3] if pixels.shape[-1] >= 3 else np.repeat(pixels[..., :1], 3, -1)
    least, most = float(pixels.min()), float(pixels.max())
    if least < 0:
        pixels = (pixels - least) / max(most - least, 1e-6) * 255
    elif most <= 1:
        pixels = pixels * 255
    height, width = pixels.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    if scale < 1:
        pixels = tf.image.resize(pixels, (round(height * scale), round(width * scale)), antialias=True).numpy()
    return pixels


def _jpeg(pixels):
    return _uri(tf.io.encode_jpeg(pixels.round().clip(0, 255).astype("uint8"), quality=85), "jpeg")


def _uri(data, kind):
    return f"data:image/{kind};base64,{base64.b64encode(data.numpy()).decode()}"
