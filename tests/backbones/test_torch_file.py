import collections
import io
import os
import pickle

import numpy as np
import pytest

from keras_transfer.backbones import torch_file

MAGIC = 0x1950A86A20F9469CFC6C


class Global:
    """Stands for a name of another package in the pickles that are written here."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """Pickles as the call of a function: what malicious files are made of."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


class Storage:
    def __init__(self, kind, key, size):
        self.saved = ("storage", Global("torch", kind), key, "cpu", size, None)


class Writer(pickle._Pickler):
    """Writes names that aren't importable here, as PyTorch's own files hold them."""

    def persistent_id(self, item):
        return item.saved if isinstance(item, Storage) else None

    def save(self, item, save_persistent_id=True):
        if isinstance(item, Global):
            self.write(f"c{item.module}\n{item.name}\n".encode())
        else:
            super().save(item, save_persistent_id)

    def save_reduce(self, func, args, *rest, **named):
        if isinstance(func, Global):
            self.save(func), self.save(args), self.write(pickle.REDUCE)
        else:
            super().save_reduce(func, args, *rest, **named)


class Rebuilt:
    def __init__(self, *arguments, function=Global("torch._utils", "_rebuild_tensor_v2")):
        self.arguments, self.function = arguments, function


Writer.dispatch = {
    **pickle._Pickler.dispatch,
    Rebuilt: lambda writer, item: writer.save_reduce(item.function, item.arguments),
}


def written(path, tensors, storages, size=None, magic=MAGIC):
    """A file of PyTorch's old format: three headers, the tensors, the keys of the storages, their bytes."""
    data = io.BytesIO()
    for item in (magic, 1001, {"little_endian": True}, tensors, list(storages)):
        Writer(data, 2).dump(item)
    for array in storages.values():
        data.write((len(array) if size is None else size).to_bytes(8, "little") + array.tobytes())
    path.write_bytes(data.getvalue())
    return path


NUMBERS = np.arange(12, dtype="<f4")


def tensor(shape=(3, 4), strides=(4, 1), offset=0, size=12, kind="FloatStorage"):
    return Rebuilt(Storage(kind, "7", size), offset, shape, strides, False, collections.OrderedDict())


def test_reads_tensors_their_strides_and_shared_storages(tmp_path):
    tensors = collections.OrderedDict(
        rows=tensor(), columns=tensor((4, 3), (1, 4)), last=tensor((2,), (1,), 10), one=tensor((), (), 5)
    )
    read = torch_file.read(written(tmp_path / "a.pth", tensors, {"7": NUMBERS}))
    assert list(read) == ["rows", "columns", "last", "one"]
    np.testing.assert_array_equal(read["rows"], NUMBERS.reshape(3, 4))
    np.testing.assert_array_equal(read["columns"], NUMBERS.reshape(3, 4).T)
    np.testing.assert_array_equal(read["last"], [10, 11])
    assert read["one"] == 5 and read["rows"].dtype == np.float32


def test_reads_whole_numbers(tmp_path):
    counts = np.array([3, 2**40], "<i8")
    path = written(tmp_path / "a.pth", {"n": tensor((2,), (1,), 0, 2, "LongStorage")}, {"7": counts})
    assert torch_file.read(path)["n"].tolist() == [3, 2**40]


@pytest.mark.parametrize(
    "function, arguments",
    [
        (os.system, ("touch ran",)),
        (eval, ("open('ran', 'w')",)),
        (exec, ("open('ran', 'w')",)),
        (open, ("ran", "w")),
        (getattr, (os, "system")),
        (__import__, ("antigravity",)),
        (os.mkdir, ("ran",)),
        (np.save, ("ran", 1)),
        (pickle.loads, (b"N.",)),
    ],
)
@pytest.mark.parametrize("place", ["header", "value", "key list"])
def test_runs_nothing(tmp_path, monkeypatch, function, arguments, place):
    monkeypatch.chdir(tmp_path)
    try:
        evil = pickle.dumps(Call(function, *arguments), 2)
    except TypeError:  # a module can't be an argument of a pickled call: write the name alone
        evil = b"c" + function.__module__.encode() + b"\n" + function.__name__.encode() + b"\n."
    good = [pickle.dumps(item, 2) for item in (MAGIC, 1001, {})]
    parts = {"header": [evil], "value": [*good, evil], "key list": [*good, pickle.dumps({}, 2), evil]}[place]
    (tmp_path / "evil.pth").write_bytes(b"".join(parts))
    with pytest.raises(ValueError, match="evil.pth is not read: it asks for .*, which is no tensor"):
        torch_file.read("evil.pth")
    assert os.listdir(tmp_path) == ["evil.pth"]


def test_the_malicious_pickle_is_a_real_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Call(os.system, "touch ran"), 2))
    assert os.listdir(tmp_path) == ["ran"]


def test_known_names_can_t_be_called_otherwise(tmp_path):
    """A storage type is a number format: calling it, or building the dict from code, leads nowhere."""
    called = Rebuilt("touch ran", function=Global("torch", "FloatStorage"))
    with pytest.raises(ValueError, match="is not read"):
        torch_file.read(written(tmp_path / "a.pth", {"x": called}, {}))
    with pytest.raises(ValueError, match="it asks for torch.load, which is no tensor"):
        torch_file.read(written(tmp_path / "b.pth", {"x": Rebuilt("f", function=Global("torch", "load"))}, {}))


@pytest.mark.parametrize(
    "bad, said",
    [
        (dict(shape=(4, 4)), "reaches beyond its storage"),
        (dict(offset=1), "reaches beyond its storage"),
        (dict(strides=(100, 1)), "reaches beyond"),
        (dict(strides=(-4, 1)), "reaches beyond"),
        (dict(offset=-1), "reaches beyond"),
        (dict(shape=(3,)), "is not read"),
        (dict(size=10**15), "larger than the file"),
        (dict(size=-1), "no storage"),
        (dict(kind="ComplexStorage"), "asks for torch.ComplexStorage"),
    ],
)
def test_tensors_outside_their_storage(tmp_path, bad, said):
    path = written(tmp_path / "a.pth", {"x": tensor(**bad)}, {"7": NUMBERS})
    with pytest.raises(ValueError, match=said):
        torch_file.read(path)


def test_damaged_files(tmp_path):
    path = written(tmp_path / "a.pth", {"x": tensor()}, {"7": NUMBERS})
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="is not read"):
            torch_file.read(path)
    path.write_bytes(whole + b"x")
    with pytest.raises(ValueError, match="more in it than its tensors"):
        torch_file.read(path)
    with pytest.raises(ValueError, match="cut short or has another size"):
        torch_file.read(written(path, {"x": tensor()}, {"7": NUMBERS}, size=11))
    with pytest.raises(ValueError, match="not in PyTorch's old format"):
        torch_file.read(written(path, {"x": tensor()}, {"7": NUMBERS}, magic=1))
    with pytest.raises(ValueError, match="is not read"):
        torch_file.read(written(path, {"x": tensor()}, {"8": NUMBERS}))
    with pytest.raises(ValueError, match="is not read"):
        torch_file.read(written(path, [1, 2], {}))
    with pytest.raises(FileNotFoundError):
        torch_file.read(tmp_path / "none.pth")


def test_a_storage_without_its_data(tmp_path):
    with pytest.raises(ValueError, match="without data"):
        torch_file.read(written(tmp_path / "a.pth", {"x": tensor()}, {}))
