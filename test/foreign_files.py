"""Files as other projects write their NetVLAD, with random weights, and what such a network answers.

The answer is written from the equations, in float64, with each project's own order and input.
"""

import struct

import numpy as np
import torch
from scipy.io import savemat
from torch.nn import functional as F

#: Of each convolution: its number in the trunk, channels in and out, side, stride, padding.
CONVOLUTIONS = {
    "alexnet": [
        (0, 3, 64, 11, 4, 2),
        (3, 64, 192, 5, 1, 2),
        (6, 192, 384, 3, 1, 1),
        (8, 384, 256, 3, 1, 1),
        (10, 256, 256, 3, 1, 1),
    ],
    "vgg16": [
        (number, before, after, 3, 1, 1)
        for number, before, after in (
            *((0, 3, 64), (2, 64, 64), (5, 64, 128), (7, 128, 128), (10, 128, 256), (12, 256, 256)),
            *((14, 256, 256), (17, 256, 512), (19, 512, 512), (21, 512, 512), (24, 512, 512)),
            *((26, 512, 512), (28, 512, 512)),
        )
    ],
}
#: Side of max pooling (stride 2), and the convolutions that come right after one.
POOLING = {"alexnet": (3, {3, 6}), "vgg16": (2, {5, 10, 17, 24})}
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
OF_255 = ([123.68, 116.779, 103.939], [1.0, 1.0, 1.0])  # of RGB in 0-255


class Network:
    """A NetVLAD with random weights, and maybe a whitening."""

    def __init__(self, trunk, clusters, dimension=0, bias=False, seed=0):
        random = torch.Generator().manual_seed(seed)
        self.trunk, self.clusters = trunk, clusters
        self.convolutions = {
            number: (
                torch.randn(after, before, side, side, generator=random) * (2 / before) ** 0.5 / side,
                torch.randn(after, generator=random) / 10,
            )
            for number, before, after, side, _, _ in CONVOLUTIONS[trunk]
        }
        depth = self.depth = CONVOLUTIONS[trunk][-1][2]
        self.weight = torch.randn(clusters, depth, generator=random)
        self.bias = torch.randn(clusters, generator=random) if bias else None
        self.centres = torch.randn(clusters, depth, generator=random) / depth**0.5
        if dimension:  # columns as the project flattens
            self.whitening = torch.randn(dimension, clusters * depth, generator=random)
            self.shift = torch.randn(dimension, generator=random)
        else:
            self.whitening = None

    def answer(self, image, statistics=IMAGENET, by_cluster=True):
        """Return the descriptor of a (3, H, W) image in 0-1, or in 0-255 where the statistics are of that."""
        mean, std = (torch.tensor(each, dtype=torch.float64).view(3, 1, 1) for each in statistics)
        features = ((image.double() - mean) / std)[None]
        side, after_pooling = POOLING[self.trunk]
        for number, _, _, _, stride, padding in CONVOLUTIONS[self.trunk]:
            if number in after_pooling:
                features = F.max_pool2d(features, side, 2)
            weight, bias = (each.double() for each in self.convolutions[number])
            features = F.conv2d(features, weight, bias, stride, padding)
            if number != CONVOLUTIONS[self.trunk][-1][0]:
                features = features.clamp(min=0)
        local = F.normalize(features[0].flatten(1).T, dim=1)
        scores = local @ self.weight.double().T + (0 if self.bias is None else self.bias.double())
        assignment = scores.softmax(dim=1)
        centres = self.centres.double()
        vectors = [
            sum(assignment[i, k] * (local[i] - centres[k]) for i in range(len(local)))
            for k in range(self.clusters)
        ]
        matrix = F.normalize(torch.stack(vectors), dim=1)
        flat = F.normalize((matrix if by_cluster else matrix.T).flatten(), dim=0)
        if self.whitening is None:
            return flat
        return F.normalize(self.whitening.double() @ flat + self.shift.double(), dim=0)

    def state_dict(self, trunk, pooling, whitening="", one_by_one=True):
        """Return its tensors, their names beginning as the project's do."""
        state = {}
        for number, (weight, bias) in self.convolutions.items():
            state |= {f"{trunk}{number}.weight": weight, f"{trunk}{number}.bias": bias}
        state |= {f"{pooling}centroids": self.centres, f"{pooling}conv.weight": self.weight[..., None, None]}
        if self.bias is not None:
            state[f"{pooling}conv.bias"] = self.bias
        if self.whitening is not None:
            matrix = self.whitening[..., None, None] if one_by_one else self.whitening
            state |= {f"{whitening}weight": matrix, f"{whitening}bias": self.shift}
        return state

    def mat_layers(self):
        """Return `net.layers` as MATLAB has them: H W IN OUT, centres to be added, D by K."""
        layers = np.empty((1, 35 if self.whitening is not None else 33), object)
        for number in range(layers.size):
            layers[0, number] = {"type": "relu", "name": f"layer{number}"}
        for number, (weight, bias) in self.convolutions.items():
            layers[0, number] = {"type": "conv", "weights": cell(weight.permute(2, 3, 1, 0), bias[None])}
        netvlad = cell(self.weight.T[None, None], -self.centres.T[None, None])
        layers[0, 30] = {"type": "custom", "weights": netvlad}
        if self.whitening is not None:
            white = cell(self.whitening.T[None, None], self.shift[None])
            layers[0, 33] = {"type": "conv", "weights": white}
        return layers


def cell(*tensors):
    """Return a MATLAB cell array of one row."""
    cells = np.empty((1, len(tensors)), object)
    for place, tensor in enumerate(tensors):
        cells[0, place] = tensor.numpy()
    return cells


def write_mat(file, layers, average=OF_255[0], compress=False):
    """Write a .mat file as hloc's; `average` is of a channel, or an image."""
    image = np.broadcast_to(np.asarray(average, np.float32), (4, 4, 3))
    net = {"layers": layers, "meta": {"normalization": {"averageImage": image}}}
    savemat(file, {"net": net}, do_compression=compress)
    return file


def write_mat_of_objects(file):
    """Write a .mat file whose layers are objects of a MATLAB class, which SciPy reads but cannot write."""

    def element(kind, content):
        return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)

    def matrix(kind, *contents):
        return element(14, element(6, struct.pack("<II", kind, 0)) + b"".join(contents))

    def sized(kind, rows, columns, name, *contents):
        return matrix(kind, element(5, struct.pack("<ii", rows, columns)), element(1, name), *contents)

    number = sized(6, 1, 1, b"", element(9, struct.pack("<d", 1.0)))
    layer = matrix(17, element(1, b""), element(1, b"MCOS"), element(1, b"layerVLAD"), number)
    layers = sized(1, 1, 2, b"", number, layer)
    names = element(5, struct.pack("<i", 32)), element(1, b"layers".ljust(32, b"\0"))
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    file.write_bytes(header + sized(2, 1, 1, b"net", *names, layers))
    return file
