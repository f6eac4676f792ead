"""Training of a ResNet-18 on an expanded data set, and its test on the real test split.

python recipes/train_classifier.py expanded/                    # real and synthetic images
python recipes/train_classifier.py expanded/ --real-only        # the same without the synthetic ones
"""

from __future__ import annotations

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.models import resnet18
from torchvision.transforms import v2

from augmentor import ExpandedDataset, open_dataset


def build(dataset: ExpandedDataset) -> nn.Module:
    """Return a ResNet-18 with as many outputs as all attributes have values together."""
    model: nn.Module = resnet18(num_classes=sum(len(attribute.values) for attribute in dataset.space.attributes))
    image, _ = dataset[0]
    if image.shape[0] != 3:
        model.conv1 = nn.Conv2d(image.shape[0], 64, 7, stride=2, padding=3, bias=False)
    return model


def loss_of(logits: torch.Tensor, labels: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    """Return the cross-entropy summed over attributes; unknown labels (-1) do not count."""
    runs = torch.split(logits, sizes, dim=1)
    losses = [
        nn.functional.cross_entropy(run, column, ignore_index=-1)
        for run, column in zip(runs, labels.T, strict=True)
        if (column >= 0).any()
    ]
    return torch.stack(losses).sum()


@torch.inference_mode()
def balanced_accuracy(
    model: nn.Module, loader: DataLoader[tuple[torch.Tensor, torch.Tensor]], sizes: list[int]
) -> list[float]:
    """Return the balanced accuracy of each attribute: the mean recall over its values."""
    model.eval()
    predicted, labelled = [], []
    for images, labels in loader:
        predicted.append(torch.stack([run.argmax(1) for run in torch.split(model(images), sizes, dim=1)], dim=1))
        labelled.append(labels)
    predictions, truth = torch.cat(predicted), torch.cat(labelled)
    result = []
    for column in range(truth.shape[1]):
        values = set(truth[:, column].tolist()) - {-1}
        recalls = [(predictions[truth[:, column] == v, column] == v).float().mean().item() for v in values]
        result.append(sum(recalls) / len(recalls))
    return result


def main() -> None:
    """Train and test."""
    parser = argparse.ArgumentParser(description="Train a classifier on an expanded data set.")
    parser.add_argument("dataset", help="a folder or .h5 file that augmentor expand wrote")
    parser.add_argument("--real-only", action="store_true", help="leave the synthetic images out")
    parser.add_argument("--steps", type=int, default=300, help="optimisation steps")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    scale = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.5])])
    flip = v2.Compose([v2.RandomHorizontalFlip(), scale])
    synthetic = False if options.real_only else None
    train = open_dataset(options.dataset, split="train", synthetic=synthetic, transform=flip)
    test = open_dataset(options.dataset, split="test", synthetic=False, transform=scale)
    sizes = [len(attribute.values) for attribute in train.space.attributes]
    model = build(train)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    step = 0
    while step < options.steps:
        drop_last = len(train) > options.batch_size
        for images, labels in DataLoader(train, options.batch_size, shuffle=True, drop_last=drop_last):
            optimizer.zero_grad()
            torch.autograd.backward(loss_of(model.train()(images), labels, sizes))
            optimizer.step()
            step += 1
            if step == options.steps:
                break
    print(
        f"{len(train)} training images, {options.steps} steps; balanced accuracy on {len(test)} real test images:"
    )
    for name, accuracy in zip(
        test.space.names, balanced_accuracy(model, DataLoader(test, 256), sizes), strict=True
    ):
        print(f"  {name}: {accuracy:.1%}")


if __name__ == "__main__":
    main()
