"""A small encoder of another project: what it computes, and its ONNX file with the description beside it."""

import warnings

import torch
import torch.nn.functional as F
import yaml
from torch import nn

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
DIMENSION = 48


class Foreign(nn.Module):
    """Takes (B, 3, H, W), gives (B, 48) of any length: colours of a grid, and what a few filters see."""

    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.filters = nn.Conv2d(3, 9, 7, 4)

    def forward(self, images):
        seen = self.filters(images).relu().mean(dim=(2, 3))
        # a grid by strides, which ONNX has for any size
        coarse = F.avg_pool2d(images, 15, 15)[..., :4, :4].flatten(1)[:, :39]
        return 3 * torch.cat([coarse, seen], 1)


def describe(file, **said):
    """Write the description of a model; what is None is left out."""
    said = {"dimension": DIMENSION, "input_size": [64, 80], "mean": MEAN, "std": STD} | said
    file.with_suffix(".yaml").write_text(
        yaml.safe_dump({name: value for name, value in said.items() if value is not None})
    )
    return file


def write_model(model, file, shape=(2, 3, 64, 80), moving=("batch", "height", "width"), dtype=torch.float32):
    """Write a module as ONNX, with sides that move by their names."""
    axes = {number: name for number, name in ((0, "batch"), (2, "height"), (3, "width")) if name in moving}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval().to(dtype),
            (torch.zeros(shape, dtype=dtype),),
            str(file),
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": axes, "y": {0: "batch"} if "batch" in moving else {}},
            opset_version=17,
            dynamo=False,
        )
    return file


def foreign_weights(file, seed=0, **said):
    """Write the small encoder and its description."""
    return describe(write_model(Foreign(seed), file), **said)
