"""timm and PyTorch with the frozen network in the loop: its features anew in every epoch, and a linear head by Adam.

python benchmarks/peers/timm_frozen.py TRAIN TEST WEIGHTS [--epochs 10] [--size 160]
(in the environment of the PyTorch peers)
"""

import torch
from common import EPOCHS, WEIGHTS, Clock, arguments, few, listed
from timm_lite0 import features, loader, network


def trained(model, files, labels, size, epochs, clock):
    with clock("epochs"):
        batches = loader(files, labels, size, shuffle=True)
        head = torch.nn.Linear(model.num_features, max(labels) + 1)
        optimizer = torch.optim.Adam(head.parameters())
        for _ in range(epochs):
            for pixels, answers in batches:
                optimizer.zero_grad()
                found = features(model, pixels).clone()  # a plain tensor, which gradients may use
                torch.nn.functional.cross_entropy(head(found), answers).backward()
                optimizer.step()
    return head


def accuracy(model, head, files, labels, size):
    with torch.inference_mode():
        right = [head(features(model, x)).argmax(1) == y for x, y in loader(files, labels, size)]
    return torch.cat(right).float().mean()


def main():
    given, clock = arguments(__doc__.partition("\n\n")[0], WEIGHTS, EPOCHS), Clock()
    torch.manual_seed(given.seed)
    model = network(given.weights).to(memory_format=torch.channels_last)
    trained(model, *few(*listed(given.train)), given.size, 1, Clock())
    with clock("files"):
        files, labels = listed(given.train)
    head = trained(model, files, labels, given.size, given.epochs, clock)
    clock.tell(accuracy(model, head, *listed(given.test), given.size), len(files))


if __name__ == "__main__":
    main()
