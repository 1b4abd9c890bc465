"""What the first run of a torch model tells: the order of its layers, and where an image is flattened."""

import numpy as np
import pytest
import torch
from torch import nn

from jaxgrad.verify import PairError
from jaxgrad.verify.port.frameworks._torch_module import TorchSide


def mean(output, target):
    del target
    return output.mean()


def run(module, *batch):
    return TorchSide.of(module.eval(), mean).first_run((*batch, np.zeros(1)))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.late, self.early, self.unused = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.early(self.late(self.early(x)))


def images(*head):
    return nn.Sequential(nn.Conv2d(3, 2, 2), nn.ReLU(), nn.Flatten(), *head)


X = np.ones((2, 3, 5, 4))


def test_the_order_is_that_of_the_first_calls():
    assert run(Twice(), np.ones((3, 4))).order == {"": 0, "early": 1, "late": 2}


@pytest.mark.parametrize(
    ("module", "found"),
    [
        (images(nn.Linear(24, 5)), {"3": (2, 4, 3)}),
        # the second takes no image
        (images(nn.Linear(24, 24), nn.Linear(24, 2)), {"3": (2, 4, 3)}),
        # of one pixel there is only one order
        (nn.Sequential(nn.Conv2d(3, 2, (5, 4)), nn.Flatten(), nn.Linear(2, 5)), {}),
        # not all of it is flattened into the axis of the layer
        (nn.Sequential(nn.Conv2d(3, 2, 2), nn.Flatten(2), nn.Linear(12, 5)), {}),
    ],
)
def test_flattened_images_are_found(module, found):
    images = run(module, X).images
    # a layer behind another of the same width may take the image by its size; the first always does
    assert {name: images[name] for name in found} == found
    assert found or not images


def test_an_input_by_keyword_counts():
    class Keyword(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 2, 2), nn.Linear(24, 5)

        def forward(self, x):
            return self.fc(input=self.conv(x).flatten(1))

    assert run(Keyword(), X).images == {"fc": (2, 4, 3)}


def test_hooks_are_taken_off_and_a_loss_without_gradient_is_refused():
    class Still(Twice):
        @torch.no_grad()
        def forward(self, x):
            return super().forward(x)

    module = Still()
    side = TorchSide.of(module.eval(), mean)
    with pytest.raises(PairError, match="no gradient"):
        side.first_run((np.ones((3, 4)), np.zeros(1)))
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in side.at("float32").modules())


def test_a_batch_that_does_not_fit_is_told_with_its_shapes():
    with pytest.raises(PairError, match=r"fails on the batch \(shapes \(3, 5\), \(1,\)\): RuntimeError"):
        run(Twice(), np.ones((3, 5)))
