"""Runs a signature of a SavedModel through TensorFlow's C library, as a server does; Python's TensorFlow isn't imported.

python tests/tensorflow_c.py FOLDER SIGNATURE INPUT FILE...

The files are the rows of INPUT, a string tensor. Prints the outputs as JSON. It shares no code with the package.
"""

import ctypes
import importlib.util
import json
import math
import pathlib
import sys

FLOAT, STRING, BOOL = 1, 7, 10


class Buffer(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("free", ctypes.c_void_p)]


class Output(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


def library():
    folder = pathlib.Path(importlib.util.find_spec("tensorflow").submodule_search_locations[0])
    ctypes.CDLL(str(folder / "libtensorflow_framework.so.2"), mode=ctypes.RTLD_GLOBAL)
    tf = ctypes.CDLL(str(folder / "libtensorflow_cc.so.2"))
    pointers = (
        "NewStatus",
        "NewGraph",
        "NewSessionOptions",
        "LoadSessionFromSavedModel",
        "GraphOperationByName",
        "AllocateTensor",
        "TensorData",
        "StringGetDataPointer",
    )
    for name in pointers:
        getattr(tf, f"TF_{name}").restype = ctypes.c_void_p
    tf.TF_NewBuffer.restype = ctypes.POINTER(Buffer)
    tf.TF_Message.restype = ctypes.c_char_p
    for name in ("TensorByteSize", "StringGetSize"):
        getattr(tf, f"TF_{name}").restype = ctypes.c_size_t
    tf.TF_Dim.restype = ctypes.c_int64
    return tf


def fields(data):
    """Yields (number, value) of a protocol buffer message: bytes, or whole numbers."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            yield key >> 3, varint()
        else:
            length = varint() if kind == 2 else {1: 8, 5: 4}[kind]
            yield key >> 3, data[at : at + length]
            at += length


def mapping(message, number):
    """A map field of a message as {name: bytes of the value}."""
    entries = [dict(fields(value)) for field, value in fields(message) if field == number]
    return {entry[1].decode(): entry.get(2, b"") for entry in entries}


def tensor_names(meta_graph, signature):
    """{key: name of the graph's tensor} of the inputs and outputs of a signature."""
    found = mapping(meta_graph, 5)[signature]
    return [{key: dict(fields(info))[1].decode() for key, info in mapping(found, side).items()} for side in (1, 2)]


class Failed(Exception):
    """What the library says went wrong."""


class Loaded:
    """A session with the SavedModel."""

    def __init__(self, folder):
        self.tf = library()
        self.status = ctypes.c_void_p(self.tf.TF_NewStatus())
        self.graph = ctypes.c_void_p(self.tf.TF_NewGraph())
        options, buffer = ctypes.c_void_p(self.tf.TF_NewSessionOptions()), self.tf.TF_NewBuffer()
        tags = (ctypes.c_char_p * 1)(b"serve")
        self.session = ctypes.c_void_p(
            self.tf.TF_LoadSessionFromSavedModel(
                options, None, str(folder).encode(), tags, 1, self.graph, buffer, self.status
            )
        )
        self.check()
        self.meta_graph = ctypes.string_at(buffer.contents.data, buffer.contents.length)

    def check(self):
        if self.tf.TF_GetCode(self.status):
            raise Failed(self.tf.TF_Message(self.status).decode())

    def place(self, name):
        operation, _, index = name.partition(":")
        return Output(self.tf.TF_GraphOperationByName(self.graph, operation.encode()), int(index or 0))

    def strings(self, rows):
        tensor = ctypes.c_void_p(
            self.tf.TF_AllocateTensor(STRING, (ctypes.c_int64 * 1)(len(rows)), 1, ctypes.c_size_t(24 * len(rows)))
        )
        start = self.tf.TF_TensorData(tensor)
        for i, row in enumerate(rows):
            self.tf.TF_StringInit(ctypes.c_void_p(start + 24 * i))
            self.tf.TF_StringCopy(ctypes.c_void_p(start + 24 * i), row, ctypes.c_size_t(len(row)))
        return tensor

    def values(self, tensor):
        shape = [self.tf.TF_Dim(tensor, k) for k in range(self.tf.TF_NumDims(tensor))]
        kind, start, count = self.tf.TF_TensorType(tensor), self.tf.TF_TensorData(tensor), math.prod(shape)
        if kind == STRING:
            places = [ctypes.c_void_p(start + 24 * i) for i in range(count)]
            flat = [
                ctypes.string_at(self.tf.TF_StringGetDataPointer(p), self.tf.TF_StringGetSize(p)).decode()
                for p in places
            ]
        else:
            flat = list(({FLOAT: ctypes.c_float, BOOL: ctypes.c_bool}[kind] * count).from_address(start))
        for length in reversed(shape[1:]):
            flat = [flat[i : i + length] for i in range(0, len(flat), length)]
        return flat

    def run(self, signature, name, rows):
        inputs, outputs = tensor_names(self.meta_graph, signature)
        said = (ctypes.c_void_p * len(outputs))()
        self.tf.TF_SessionRun(
            self.session,
            None,
            (Output * 1)(self.place(inputs[name])),
            (ctypes.c_void_p * 1)(self.strings(rows)),
            1,
            (Output * len(outputs))(*map(self.place, outputs.values())),
            said,
            len(outputs),
            None,
            0,
            None,
            self.status,
        )
        self.check()
        return {key: self.values(ctypes.c_void_p(tensor)) for key, tensor in zip(outputs, said)}


if __name__ == "__main__":
    folder, signature, name, *files = sys.argv[1:]
    try:
        print(json.dumps(Loaded(folder).run(signature, name, [pathlib.Path(file).read_bytes() for file in files])))
    except Failed as error:
        sys.exit(f"failed: {error}")
    assert "tensorflow" not in sys.modules and "keras" not in sys.modules
