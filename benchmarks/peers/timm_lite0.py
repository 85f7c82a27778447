"""timm's network with the very weights of keras_transfer's EfficientNetLite0, and photos as torchvision reads them."""

import timm
import torch
from PIL import Image
from torchvision import transforms

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # what the weights were trained with


def network(weights):
    """Builds timm's network without its classifier, `(photos, 3, size, size)` -> features `(photos, 1280)`.

    The file has other names than timm but the same arrays in the same order. timm's `efficientnet_lite0` takes them
    too, but pads in another way: its features are wrong.
    """
    model = timm.create_model("tf_efficientnet_lite0")
    arrays = torch.load(weights, weights_only=True).values()
    model.load_state_dict(dict(zip(model.state_dict(), arrays, strict=True)), strict=True)
    model.reset_classifier(0)
    return model.eval()


class Photos(torch.utils.data.Dataset):
    """Photos of `size` by `size` pixels, normalized, and the numbers of their classes."""

    def __init__(self, files, labels, size):
        self.files, self.labels = files, labels
        self.pixels = transforms.Compose(
            [transforms.Resize((size, size)), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        )

    def __len__(self):
        return len(self.files)

    def __getitem__(self, k):
        with Image.open(self.files[k]) as photo:
            return self.pixels(photo.convert("RGB")), self.labels[k]


def loader(files, labels, size, shuffle=False):
    """Batches of 32, decoded by two workers."""
    photos = Photos(files, labels, size)
    return torch.utils.data.DataLoader(photos, 32, shuffle=shuffle, num_workers=2, persistent_workers=True)


def features(model, pixels):
    """The features of one batch; `model` is in channels_last."""
    with torch.inference_mode():
        return model(pixels.contiguous(memory_format=torch.channels_last))
