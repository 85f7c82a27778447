"""Reads tensors from PyTorch's old file format without PyTorch and without running anything that the file says."""
import collections
import os
import pickle

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8",
             "IntStorage": "<i4"}


class _Tensors(pickle.Unpickler):
    """An unpickler that knows three harmless names; any other one ends the reading before it is looked up."""

    def __init__(self, file):
        super().__init__(file)
        self.room = os.fstat(file.fileno()).st_size
        self.storages = {}

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _STORAGES:
            return np.dtype(_STORAGES[name])
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no tensor")

    def persistent_load(self, saved):
        kind, dtype, key, _, size, view = saved
        if kind != "storage" or view is not None or not 0 <= size * dtype.itemsize <= self.room:
            raise pickle.UnpicklingError("a storage is larger than the file or no storage")
        return self.storages.setdefault(key, np.zeros(size, dtype))


def _tensor(storage, offset, shape, strides, *_):
    """A view of `storage`, which is filled later; refuses one that would reach beyond it."""
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if min((offset, *shape, *strides)) < 0 or last >= len(storage):
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, [step * storage.itemsize for step in strides])


def read(path):
    """Returns {name: array} of a `state_dict` in PyTorch's format from before version 1.6.

    Args:
        path: the file (`.pth`).

    Raises:
        ValueError: for a file that is damaged, of another format, or asks for anything but tensors.
    """
    try:
        with open(path, "rb") as file:
            if _Tensors(file).load() != _MAGIC:
                raise ValueError("it is not in PyTorch's old format")
            _Tensors(file).load(), _Tensors(file).load()    # version and machine
            reader = _Tensors(file)
            tensors = reader.load()
            keys = _Tensors(file).load()
            if sorted(keys) != sorted(reader.storages):
                raise ValueError("it has tensors without data or data without tensors")
            for key in keys:
                _fill(reader.storages[key], file)
            if file.read(1):
                raise ValueError("there is more in it than its tensors")
            return {str(name): np.array(tensor) for name, tensor in tensors.items()}
    except FileNotFoundError:
        raise
    except Exception as error:      # a hostile pickle can raise anything
        raise ValueError(f"{path} is not read: {error}. Install the package it came with anew.") from error


def _fill(storage, file):
    size = int.from_bytes(file.read(8), "little")
    data = file.read(storage.nbytes)
    if size != len(storage) or len(data) != storage.nbytes:
        raise ValueError("a storage is cut short or has another size")
    storage[:] = np.frombuffer(data, storage.dtype)
