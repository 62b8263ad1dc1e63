"""The layer against the equations of the paper, in float64 and with explicit loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from test.error_lines import input_error
from vpr_ros.errors import InputError
from vpr_ros.netvlad import GeM, MaxPooling, NetVLAD, Whitening, assignment_v1, assignment_v2, kmeans

few = settings(max_examples=20, deadline=None, derandomize=True)
sizes = st.integers(1, 7)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def layer(depth=5, clusters=3, seed=0, spread=3.0):
    """Return a float64 layer whose w, b and c have nothing to do with one another."""
    random = np.random.default_rng(seed)
    made = NetVLAD(depth, clusters).double().requires_grad_(False)
    made.weight.copy_(torch.from_numpy(spread * random.normal(size=(clusters, depth))))
    made.bias.copy_(torch.from_numpy(random.normal(size=clusters)))
    made.centres.copy_(torch.from_numpy(random.normal(size=(clusters, depth))))
    return made


def feature_maps(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def reference(features, weight, bias, centres):
    """Section 3.1 of the paper, one cluster and one location at a time."""
    depth, height, width = features.shape
    vlad = np.zeros((len(centres), depth))
    for row in range(height):
        for column in range(width):
            x = features[:, row, column] / math.sqrt(sum(v * v for v in features[:, row, column]))
            scores = [math.exp(sum(w * v for w, v in zip(weight[k], x)) + bias[k]) for k in range(len(bias))]
            for k, score in enumerate(scores):
                vlad[k] += score / sum(scores) * (x - centres[k])
    for k in range(len(vlad)):
        vlad[k] /= math.sqrt(sum(v * v for v in vlad[k]))
    flat = [value for cluster in vlad for value in cluster]
    return np.array(flat) / math.sqrt(sum(v * v for v in flat))


@few
@given(
    height=sizes, width=sizes, clusters=st.integers(1, 5), depth=st.integers(2, 6), seed=st.integers(0, 99)
)
def test_equals_the_equations_for_any_size(height, width, clusters, depth, seed):
    net = layer(depth, clusters, seed)
    features = feature_maps(2, depth, height, width, seed=seed)
    expected = [
        reference(f.numpy(), net.weight.numpy(), net.bias.numpy(), net.centres.numpy()) for f in features
    ]
    np.testing.assert_allclose(net(features).numpy(), expected, atol=1e-9)


def test_element_k_times_depth_plus_d_is_cluster_k_channel_d():
    net = layer(depth=4, clusters=3)
    net.weight.zero_()
    net.bias.copy_(torch.tensor([0.0, 100.0, 0.0]))  # every location belongs to cluster 1
    features = feature_maps(1, 4, 1, 1)
    x = unit(features[0, :, 0, 0].numpy())
    out = net(features)[0].numpy()
    np.testing.assert_allclose(out[4:8], unit(x - net.centres[1].numpy()), atol=1e-9)
    np.testing.assert_allclose(np.delete(out, range(4, 8)), 0, atol=1e-9)


@few
@given(
    height=sizes, width=sizes, scale=st.floats(1e-3, 1e4), seed=st.integers(0, 99), images=st.integers(1, 3)
)
def test_unit_length_and_no_care_for_the_scale_of_the_map(height, width, scale, seed, images):
    net = layer(seed=seed).float()
    features = feature_maps(images, 5, height, width, seed=seed).float()
    out = net(features * scale)
    assert out.shape == (images, 15)
    torch.testing.assert_close(out.norm(dim=1), torch.ones(images))
    torch.testing.assert_close(out, net(features), atol=1e-4, rtol=0)


def test_a_map_of_zeros_gives_finite_values():
    assert torch.isfinite(layer()(torch.zeros(1, 5, 3, 4, dtype=torch.float64))).all()


@few
@given(order=st.permutations(range(12)), seed=st.integers(0, 99))
def test_the_order_of_locations_does_not_matter(order, seed):
    net = layer(seed=seed)
    features = feature_maps(1, 5, 3, 4, seed=seed)
    shuffled = features.flatten(2)[:, :, list(order)].view(1, 5, 4, 3)
    torch.testing.assert_close(net(shuffled), net(features), atol=1e-9, rtol=0)


def test_images_of_a_batch_do_not_touch_each_other():
    net, features = layer(), feature_maps(3, 5, 4, 4)
    torch.testing.assert_close(net(features)[1], net(features[1:2])[0])


def test_alpha_to_infinity_is_hard_vlad():
    random = np.random.default_rng(0)
    centres, features = random.normal(size=(4, 6)) * 0.5, random.normal(size=(6, 9, 9))
    alpha = 1e6
    net = NetVLAD(6, 4).double().requires_grad_(False)
    net.weight.copy_(torch.from_numpy(2 * alpha * centres))
    net.bias.copy_(torch.from_numpy(-alpha * (centres**2).sum(1)))
    net.centres.copy_(torch.from_numpy(centres))
    local = unit(features.reshape(6, -1).T)
    nearest = np.linalg.norm(local[:, None] - centres, axis=2).argmin(axis=1)
    assert len(set(nearest)) == 4  # each cluster has its part, or the comparison is empty
    hard = np.stack([(local[nearest == k] - centres[k]).sum(axis=0) for k in range(4)])
    expected = unit(unit(hard).ravel())
    np.testing.assert_allclose(net(torch.from_numpy(features[None]))[0], expected, atol=1e-7)


def test_gradients_of_all_three_parameters_and_of_the_input():
    net = layer(depth=3, clusters=2).requires_grad_(True)
    features = feature_maps(2, 3, 2, 3).requires_grad_(True)

    def value(features, weight, bias, centres):
        parameters = {"weight": weight, "bias": bias, "centres": centres}
        return torch.func.functional_call(net, parameters, (features,))

    assert torch.autograd.gradcheck(value, (features, net.weight, net.bias, net.centres))


def test_gradients_of_max_pooling():
    assert torch.autograd.gradcheck(MaxPooling(), (feature_maps(2, 3, 3, 2).requires_grad_(True),))


def test_gradients_of_whitening():
    whitening = Whitening(4, 3).double()
    with torch.no_grad():
        whitening.weight.copy_(feature_maps(3, 4, seed=1))
        whitening.bias.copy_(feature_maps(3, seed=2))

    def value(descriptors, weight, bias):
        return torch.func.functional_call(whitening, {"weight": weight, "bias": bias}, (descriptors,))

    inputs = (feature_maps(2, 4).requires_grad_(True), whitening.weight, whitening.bias)
    assert torch.autograd.gradcheck(value, inputs)


@few
@given(height=sizes, width=sizes, seed=st.integers(0, 99))
def test_max_pooling_is_the_largest_of_each_channel(height, width, seed):
    features = feature_maps(2, 5, height, width, seed=seed)
    expected = [unit(np.array([channel.max() for channel in image])) for image in features.numpy()]
    np.testing.assert_allclose(MaxPooling()(features), expected, atol=1e-9)


@few
@given(p=st.floats(1, 6), height=sizes, width=sizes, seed=st.integers(0, 99))
def test_gem_is_the_generalised_mean_of_what_is_positive(p, height, width, seed):
    features = feature_maps(2, 5, height, width, seed=seed)
    p = float(np.float32(p))
    expected = [
        unit(np.array([np.mean(np.maximum(channel, 1e-6) ** p) ** (1 / p) for channel in image]))
        for image in features.numpy()
    ]
    np.testing.assert_allclose(GeM(p)(features).detach(), expected, atol=1e-6)


def test_gem_lies_between_mean_and_maximum():
    features = feature_maps(2, 5, 4, 6).abs() + 0.1
    mean = torch.nn.functional.normalize(features.mean(dim=(2, 3)), dim=1)
    torch.testing.assert_close(GeM(1.0)(features), mean)
    torch.testing.assert_close(GeM(200.0)(features), MaxPooling()(features), atol=0.01, rtol=0.01)


def test_gradient_of_gem_and_of_its_exponent():
    features = (feature_maps(2, 3, 2, 3).abs() + 0.1).requires_grad_(True)
    exponent = torch.tensor([3.0], dtype=torch.float64, requires_grad=True)

    def value(features, p):
        return torch.func.functional_call(GeM().double(), {"p": p}, (features,))

    assert torch.autograd.gradcheck(value, (features, exponent))


def test_exported_program_gives_the_same_values():
    net = layer(depth=8, clusters=4).float()
    features = feature_maps(2, 8, 5, 6).float()
    exported = torch.export.export(net, (features,)).module()
    other = feature_maps(2, 8, 5, 6, seed=1).float()
    torch.testing.assert_close(exported(other), net(other))


# --- initialisation ---------------------------------------------------------------------------------------


def local_descriptors(count=600, depth=8, seed=0):
    random = np.random.default_rng(seed)
    blobs = random.normal(size=(12, depth))[random.integers(0, 12, count)]
    return unit(blobs + 0.6 * random.normal(size=(count, depth))).astype(np.float32)


def log_ratio(net, local):
    """Return the mean log of second to first soft-assignment."""
    scores = local.astype(float) @ net.weight.numpy().astype(float).T + net.bias.numpy()
    assignment = np.exp(scores - scores.max(axis=1, keepdims=True))
    assignment = np.sort(assignment / assignment.sum(axis=1, keepdims=True), axis=1)
    return np.log(assignment[:, -2] / assignment[:, -1]).mean()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_second_soft_assignment_is_a_hundredth_of_the_first(version):
    local = local_descriptors()
    net = NetVLAD(8, 6).requires_grad_(False)
    net.initialise(local, version)
    assert log_ratio(net, local) == pytest.approx(math.log(0.01), rel=1e-4)


def test_v1_is_the_formula_of_the_authors_code():
    local = local_descriptors()
    centres = kmeans(local, 6, seed=0)
    weight, bias = assignment_v1(centres, local)
    gaps = []
    for x in local.astype(float):
        similarities = sorted(float(x @ c) / math.sqrt(float(c @ c)) for c in centres.astype(float))
        gaps.append(similarities[-1] - similarities[-2])
    alpha = -math.log(0.01) / np.mean(gaps)
    np.testing.assert_allclose(weight, alpha * unit(centres), rtol=1e-4, atol=1e-4)
    assert (bias == 0).all()


def test_v2_takes_the_gap_of_squared_distances():
    local = local_descriptors()
    centres = kmeans(local, 6, seed=0)
    weight, bias = assignment_v2(centres, local)
    squared = np.sort(((local[:, None].astype(float) - centres) ** 2).sum(axis=2), axis=1)
    alpha = -math.log(0.01) / (squared[:, 1] - squared[:, 0]).mean()
    np.testing.assert_allclose(weight, 2 * alpha * centres, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(bias, -alpha * (centres**2).sum(axis=1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("version", "assignment"), [("v1", assignment_v1), ("v2", assignment_v2)])
def test_initialise_sets_all_three_parameters(version, assignment):
    local = local_descriptors()
    net = NetVLAD(8, 6).requires_grad_(False)
    net.initialise(local, version, seed=3)
    centres = kmeans(local, 6, seed=3)
    weight, bias = assignment(centres, local)
    for parameter, expected in ((net.centres, centres), (net.weight, weight), (net.bias, bias)):
        np.testing.assert_allclose(parameter.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_centres_are_the_means_of_what_is_nearest_to_them():
    local = local_descriptors()
    centres = kmeans(local, 6, seed=0)
    nearest = np.linalg.norm(local[:, None] - centres, axis=2).argmin(axis=1)
    means = np.stack([local[nearest == k].mean(axis=0) for k in range(6)])
    np.testing.assert_allclose(centres, means, atol=1e-4)


def test_kmeans_learns_from_all_points():
    # FAISS takes at most 256 points a centre unless told otherwise
    points = np.array([[1.0, 0.0]] * 1999 + [[0.0, 1.0]], np.float32)
    centres = kmeans(points, 2, seed=0)
    assert np.linalg.norm(centres - [0.0, 1.0], axis=1).min() < 1e-5


def test_seed_decides_everything():
    def parameters(seed):
        net = NetVLAD(8, 6).requires_grad_(False)
        net.initialise(local_descriptors(), seed=seed)
        return torch.cat([net.centres.ravel(), net.weight.ravel(), net.bias])

    assert torch.equal(parameters(1), parameters(1))
    assert not torch.equal(parameters(1), parameters(2))


def test_too_few_descriptors():
    with input_error("5", "6", "more images"):
        NetVLAD(8, 6).initialise(local_descriptors(count=5))


def test_as_many_descriptors_as_clusters_are_enough():
    net = NetVLAD(8, 6).requires_grad_(False)
    net.initialise(local_descriptors(count=6))
    assert all(torch.isfinite(parameter).all() for parameter in net.parameters())


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_images_without_anything_in_them(version):
    # a lens cap: all descriptors are one, and next to no gap between the centres
    local = np.repeat(local_descriptors(count=1), 50, axis=0)
    net = NetVLAD(8, 6).requires_grad_(False)
    try:
        net.initialise(local, version)
    except InputError:
        return  # to refuse them is as good
    assert all(torch.isfinite(parameter).all() for parameter in net.parameters())
    assert torch.isfinite(net(feature_maps(1, 8, 3, 3).float())).all()


# --- whitening --------------------------------------------------------------------------------------------


def descriptors(count=500, depth=12, seed=0):
    random = np.random.default_rng(seed)
    mixed = random.normal(size=(count, depth)) * np.linspace(2.0, 0.3, depth)
    rotation, _ = np.linalg.qr(random.normal(size=(depth, depth)))
    return unit(mixed @ rotation + 0.5).astype(np.float32)


def fitted(data, dimension, shrinkage=0.0):
    whitening = Whitening(data.shape[1], dimension).requires_grad_(False)
    whitening.fit(data, shrinkage)
    return whitening


def principal(data):
    """Return mean, directions (rows) and variances of the data, largest first."""
    centred = data.astype(float) - data.mean(axis=0, dtype=float)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    return data.mean(axis=0, dtype=float), directions, values**2 / len(data)


def signed_like(rows, like):
    return rows * np.sign((rows * like).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("count", [500, 40])  # more images than channels, and fewer
def test_whitening_is_the_svd_of_the_descriptors(count):
    depth, dimension = (12, 8) if count == 500 else (64, 8)
    data = descriptors(count, depth)
    whitening = fitted(data, dimension)
    mean, directions, variances = principal(data)
    expected = directions[:dimension] / np.sqrt(variances[:dimension, None] + 1e-9)
    weight = whitening.weight.numpy()
    # variances over N or N - 1: a factor that L2 normalisation removes
    tolerance = 1.0 / count + 1e-3
    np.testing.assert_allclose(
        signed_like(weight, expected), expected, rtol=0, atol=tolerance * np.abs(expected).max()
    )
    np.testing.assert_allclose(whitening.bias, -weight.astype(float) @ mean, rtol=1e-3, atol=1e-3)


def test_whitened_descriptors_have_mean_0_and_variance_1_before_l2():
    data = descriptors()
    whitening = fitted(data, 12 - 1)
    white = data @ whitening.weight.numpy().T + whitening.bias.numpy()
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(white.T), np.eye(11), atol=5e-3)
    out = whitening(torch.from_numpy(data)).numpy()
    np.testing.assert_allclose(out, unit(white), atol=1e-5)


def test_first_rows_are_the_whitening_to_fewer_dimensions():
    data = descriptors()
    large, small = fitted(data, 10), fitted(data, 4)
    weight = large.weight[:4].numpy()
    np.testing.assert_allclose(signed_like(weight, small.weight.numpy()), small.weight, rtol=1e-3, atol=1e-3)
    cut = unit((data @ large.weight.numpy().T + large.bias.numpy())[:, :4])
    both = cut @ cut.T, (small(torch.from_numpy(data)) @ small(torch.from_numpy(data)).T).numpy()
    np.testing.assert_allclose(*both, atol=1e-4)


@pytest.mark.parametrize("shrinkage", [0.5, 3.0])
def test_shrinkage_is_added_in_units_of_the_mean_variance(shrinkage):
    data = descriptors()
    _, directions, variances = principal(data)
    kept = variances[:8]
    expected = directions[:8] / np.sqrt(kept[:, None] + 1e-9 + shrinkage * kept.mean())
    weight = fitted(data, 8, shrinkage).weight.numpy()
    np.testing.assert_allclose(signed_like(weight, expected), expected, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize(("count", "depth", "dimension"), [(10, 12, 10), (500, 12, 13), (1, 12, 1)])
def test_more_dimensions_than_images_can_tell(count, depth, dimension):
    with input_error(str(dimension), str(count), "more images", "smaller P"):
        fitted(descriptors(count, depth), dimension)


def test_images_of_a_robot_that_stood_still():
    # fewer directions than P: the variance of the others is 0, or a little below it in float32
    data = np.repeat(descriptors(count=5, depth=12), 20, axis=0)
    whitening = fitted(data, 10)
    assert torch.isfinite(whitening.weight).all()
    assert torch.isfinite(whitening(torch.from_numpy(data))).all()
