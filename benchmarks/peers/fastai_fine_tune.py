"""fastai's `fine_tune` of timm's network with the weights of keras_transfer's EfficientNetLite0, without augmentation.

python benchmarks/peers/fastai_fine_tune.py TRAIN TEST WEIGHTS [--frozen-epochs 5] [--epochs 5] [--size 160]
(in the environment of the PyTorch peers)
"""

from common import EPOCHS, WEIGHTS, Clock, arguments, few, listed
from fastai.vision.all import (
    CategoryBlock,
    ChannelsLast,
    DataBlock,
    ImageBlock,
    Normalize,
    Resize,
    ResizeMethod,
    accuracy,
    parent_label,
    set_seed,
    vision_learner,
)
from timm_lite0 import MEAN, STD, network

FROZEN = ("--frozen-epochs", {**EPOCHS[1], "default": 5, "help": "epochs of the head alone (default: %(default)s)"})
LAST = ("--channels-last", {"action": "store_true", "help": "the memory format that PyTorch is quicker with"})


def learner(files, given):
    """A learner as fastai makes it, but for the weights, the pixels (no augmentation) and the empty validation set."""
    block = DataBlock(
        (ImageBlock, CategoryBlock),
        get_y=parent_label,
        splitter=lambda items: (range(len(items)), []),
        item_tfms=Resize(given.size, ResizeMethod.Squish),
        batch_tfms=Normalize.from_stats(MEAN, STD, cuda=False),
    )
    loaders = block.dataloaders(files, bs=32, num_workers=2)
    made = vision_learner(loaders, "tf_efficientnet_lite0", pretrained=False, normalize=False, metrics=accuracy)
    made.model[0].model.load_state_dict(network(given.weights).state_dict(), strict=True)
    return made.add_cb(ChannelsLast()) if given.channels_last else made


def trained(files, given, frozen_epochs, epochs, clock):
    with clock("learner"):
        made = learner(files, given)
    with clock("fine_tune"), made.no_bar(), made.no_logging():
        made.fine_tune(epochs, freeze_epochs=frozen_epochs)
    return made


def main():
    given, clock = arguments(__doc__.partition("\n\n")[0], WEIGHTS, FROZEN, EPOCHS, LAST), Clock()
    set_seed(given.seed)
    trained(few(*listed(given.train))[0], given, 1, 1, Clock())
    with clock("files"):
        files, _ = listed(given.train)
    made = trained(files, given, given.frozen_epochs, given.epochs, clock)
    test = made.dls.test_dl(listed(given.test)[0], with_labels=True)
    with made.no_bar():
        clock.tell(made.validate(dl=test)[1], len(files))


if __name__ == "__main__":
    main()
