"""`keras-transfer`: the public functions from a shell."""

import argparse
import contextlib
import errno
import os
import sys
import tempfile
import traceback
import warnings

from keras_transfer import __version__

EXAMPLES = """examples:
  keras-transfer demo
  keras-transfer train photos/ --output runs/mine                 a folder of photos for each class
  keras-transfer train labels.csv --images photos --targets breed:class age:number --output runs/pets
  keras-transfer evaluate runs/mine other_photos/
  keras-transfer report runs/mine other_photos/ --to report.html
  keras-transfer predict runs/mine tom.jpg rex.jpg --csv answers.csv
  keras-transfer export runs/mine --to served/mine
  keras-transfer serve runs/mine
  keras-transfer features photos/ --to features.npz               for scikit-learn
  keras-transfer backbones "mobile*"
"""


def main(arguments=None):
    """Runs one command and returns its exit code: 0, 1 (the user's data or arguments) or 2 (usage)."""
    options = parser().parse_args(arguments)
    trains = options.command in ("train", "demo")
    goes_on = " The same command goes on from the last whole epoch." if trains else ""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported
    try:
        with silenced():
            from . import commands
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = lambda message, *_: print(f"keras-transfer: {message}", file=sys.stderr)
            return getattr(commands, options.command)(options) or 0
    except KeyboardInterrupt:
        print(f"\nkeras-transfer: stopped.{goes_on}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if trains:
            print(f"keras-transfer: stopped, since nobody reads what it says.{goes_on}", file=sys.stderr)
        return int(trains)
    except Exception as error:
        if os.environ.get("KERAS_TRANSFER_DEBUG"):
            traceback.print_exc()
        print(f"keras-transfer: {told(error)}", file=sys.stderr)
        return 1


def told(error):
    """Returns what to say of an error: its own sentence where it has one."""
    if isinstance(error, OSError) and error.errno is not None:
        of = f" ({error.filename})" if error.filename else ""
        if error.errno == errno.ENOSPC:
            return f"The disk is full{of}. Make room and give the same command again; nothing that was there is lost."
        return f"{error.strerror}: {error.filename}. Choose another place or change its permissions." if of else str(error)
    if isinstance(error, (OSError, ValueError, TypeError, ImportError)):
        return str(error)
    first = (str(error).strip() or "no message").splitlines()[0][:300]
    return f"{type(error).__name__}: {first}. Set KERAS_TRANSFER_DEBUG=1 to see where it comes from."


@contextlib.contextmanager
def silenced():
    """Keeps off the terminal what TensorFlow's libraries say while they are loaded; an error brings it back."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except Exception:
            said.seek(0)
            os.write(terminal, said.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def parser():
    """Returns the parser of the command line."""
    top = _command(
        argparse.ArgumentParser,
        prog="keras-transfer",
        description="Transfer learning with Keras: photos in, trained model out.",
        epilog=EXAMPLES,
    )
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name, about, examples):
        return _command(commands.add_parser, name, help=about, description=about, epilog=f"examples:\n{examples}")

    _demo(add("demo", "train on scanned digits, from real weights, in a few minutes", "  keras-transfer demo\n"))
    backbones = add("backbones", "list the backbones", '  keras-transfer backbones "efficient*"\n')
    backbones.add_argument("pattern", nargs="?", default="*", help="names with * and ? (default: all)")
    train = add("train", "train on a folder of photos or a table", "".join(EXAMPLES.splitlines(True)[2:4]))
    train.usage = "%(prog)s DATA --output RUN [--images FOLDER] [--targets COLUMN:KIND ...] [options]"  # DATA comes first
    _train(train)
    _evaluate(add("evaluate", "measure a run on further photos", "  keras-transfer evaluate runs/mine other_photos/\n"))
    _features(add("features", "write what a backbone makes of photos, for scikit-learn and the like",
                  "  keras-transfer features photos/ --to features.npz\n"))
    inspect = add("inspect", "say what a SavedModel holds and does, without running it", "  keras-transfer inspect model/\n")
    inspect.add_argument("source", metavar="SOURCE", help="a folder, a .tar.gz archive, a URL or a Kaggle handle")
    _report(add("report", "write a report of a run on further photos, one HTML page",
                "  keras-transfer report runs/mine other_photos/ --to report.html\n"))
    _predict(add("predict", "say what is in photos", "  keras-transfer predict runs/mine *.jpg --json answers.json\n"))
    _export(add("export", "write a run for TF Serving and other runtimes", "  keras-transfer export runs/mine --to served/mine\n"))
    _serve(add("serve", "try a run or an export out, in a browser and over HTTP", "  keras-transfer serve runs/mine\n"))
    return top


def _command(make, *names, **options):
    return make(*names, formatter_class=argparse.RawDescriptionHelpFormatter, **options)


def _demo(parser):
    parser.add_argument(
        "--output",
        default="keras-transfer-demo",
        metavar="FOLDER",
        help="where photos and run go (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of split, heads and order (default: %(default)s)")


def _train(parser):
    _data_arguments(parser.add_argument)
    _training_arguments(parser.add_argument)


def _data_arguments(add):
    add("data", metavar="DATA", help="a folder with a folder of photos for each class, or a CSV file")
    add("--output", required=True, metavar="RUN", help="the run folder to write; must not exist")
    _table_arguments(add, "what to learn from a CSV file; KIND is class, number or labels")
    add("--split", metavar="COLUMN", help="the column that says train, valid or test")
    add(
        "--validation",
        type=float,
        metavar="SHARE",
        help="share held out for validation (default: 0.2, or with --split what the column says)",
    )
    add("--test", type=float, default=0.0, metavar="SHARE", help="share held out for the test (default: none)")


def _table_arguments(add, targets):
    add("--images", metavar="FOLDER", help="where the photos of a CSV file lie (default: beside it)")
    add("--column", default="file", help="the column with the photos' names (default: %(default)s)")
    add("--targets", nargs="+", default=[], metavar="COLUMN:KIND", help=targets)
    add("--on-error", default="raise", choices=["raise", "skip"], help="photos that can't be read (default: %(default)s)")


def _backbone_arguments(add):
    add("--backbone", default="EfficientNetLite0", help="a name, see `keras-transfer backbones` (default: %(default)s)")
    add("--weights", default="pretrained", help='"pretrained", "none" or a file (default: %(default)s)')
    add("--image-size", type=int, default=224, metavar="PIXELS", help="height and width (default: %(default)s)")
    add("--fit", default="stretch", choices=["stretch", "crop", "pad"],
        help="how photos are brought to it (default: %(default)s)")


def _training_arguments(add):
    _backbone_arguments(add)
    add("--head-epochs", type=int, default=20, help="epochs with the backbone frozen (default: %(default)s)")
    add("--epochs", type=int, default=5, help="epochs with its last part trained (default: %(default)s)")
    add(
        "--last",
        type=_place,
        metavar="PLACE",
        help="that part: a layer or block, a number or a share of layers (default: the last quarter)",
    )
    add("--norms", action="store_true", help="let the batch norms of that part train too (for pictures unlike photos)")
    add(
        "--learning-rate",
        type=_positive,
        default=1e-3,
        help="of the heads; a tenth of it for the backbone (default: %(default)s)",
    )
    _several_arguments(add)
    add("--dropout", type=float, default=0.0, help="in the heads (default: none)")
    add("--flip", action="store_true", help="mirror photos left to right at random in training")
    add("--balance", action="store_true", help="weigh classes by their rarity")
    add("--batch-size", type=int, default=32, help="(default: %(default)s)")
    add("--seed", type=int, default=0, help="of split, heads and order (default: %(default)s)")
    add("--deterministic", action="store_true", help="give the same bits again; a little slower")


def _several_arguments(add):
    add("--weighting", metavar="METHOD", help="how several targets come together, such as uncertainty or pcgrad (default: sum)")
    add("--at", metavar="LAYER", help="where METHOD compares gradients: features costs least (default: all shared weights)")
    add("--sharing", metavar="KIND", help="what gives each target features of its own, such as mmoe (default: none)")
    add("--baselines", action="store_true", help="train each target alone too, and say which gained and which lost")


def _features(parser):
    add = parser.add_argument
    add("data", metavar="DATA", help="a folder with a folder of photos for each class, or a CSV file")
    add("--to", required=True, metavar="FILE", help="the .npz or .parquet file to write; one that is there is replaced")
    _table_arguments(add, "what to write beside the features; KIND is class, number or labels")
    _backbone_arguments(add)
    add("--engine", default="auto", choices=["auto", "tensorflow", "openvino"], help="what computes (default: %(default)s)")
    add("--dtype", default="float32", choices=["float32", "bfloat16"], help="of the computation (default: %(default)s)")
    parser.set_defaults(split=None, validation=0.0, test=0.0, seed=0, batch_size=32, flip=False)


def _evaluate(parser):
    _measuring_arguments(parser)
    parser.add_argument("--json", metavar="FILE", help="write the scores there")


def _report(parser):
    _measuring_arguments(parser)
    parser.add_argument("--to", required=True, metavar="FILE", help="the page to write; one that is there is replaced")


def _measuring_arguments(parser):
    _run_arguments(parser)
    parser.add_argument("data", metavar="DATA", help="a folder of classes or a CSV file, as in training")
    parser.add_argument("--images", metavar="FOLDER", help="where the photos of a CSV file lie (default: beside it)")
    parser.add_argument("--part", choices=["train", "valid", "test"], help="only these rows of the run's split column")


def _predict(parser):
    _run_arguments(parser)
    parser.add_argument("files", nargs="+", metavar="FILES", help="photos, or folders of photos")
    parser.add_argument("--csv", metavar="FILE", help="write the answers there")
    parser.add_argument("--json", metavar="FILE", help="write the answers there")


def _export(parser):
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument(
        "--to", required=True, metavar="DIR", help="the version folder (served/pets/1), or the one that holds versions"
    )
    parser.add_argument(
        "--formats",
        nargs="+",
        default=["saved_model"],
        choices=["saved_model", "tflite", "tflite_int8", "onnx", "openvino"],
        metavar="FORMAT",
        help="of saved_model, tflite, tflite_int8, onnx and openvino (default: saved_model)",
    )
    parser.add_argument("--top-k", type=int, metavar="N", help="name the N likeliest classes")
    parser.add_argument("--calibration", metavar="FOLDER", help="photos to quantize with and to compare on")
    parser.add_argument(
        "--on-error",
        default="row",
        choices=["row", "request"],
        help="a photo that can't be read: its row is empty, or its request fails (default: %(default)s)",
    )


def _serve(parser):
    parser.add_argument("run", metavar="RUN", help="a run folder, or what `keras-transfer export` has written")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (default: %(default)s, this machine)")
    parser.add_argument("--port", type=int, default=8501, help="0 takes any that is free (default: %(default)s)")
    parser.add_argument("--name", help="the model's name in the paths (default: that of the folder)")


def _run_arguments(parser):
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument(
        "--on-error",
        default="raise",
        choices=["raise", "skip"],
        help="photos that can't be read (default: %(default)s)",
    )


def _positive(text):
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"wanted is a number above 0, and {text!r} came")
    return value


def _place(text):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


if __name__ == "__main__":
    sys.exit(main())
