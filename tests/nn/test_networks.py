"""What every exported network promises; a new one is found by itself. Then each one's own figures."""

import inspect
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import ibsuite.nn
from ibsuite.nn import MLP, VGG, VGG8, VGG13, Bottleneck, ConvNet, LeNet, SevenConv, TinyCNN, pristine_state

torch.set_num_threads(1)

MNIST, CIFAR, DIGITS = (1, 28, 28), (3, 32, 32), (1, 8, 8)
EXPORTED = [
    value for name in ibsuite.nn.__all__
    if inspect.isclass(value := getattr(ibsuite.nn, name)) and issubclass(value, nn.Module)
]  # fmt: skip


def wanting(network: type) -> set[str]:
    """Arguments without a default, beyond the two that all networks have."""
    signature = inspect.signature(network).parameters.values()
    return {p.name for p in signature if p.default is p.empty} - {"input_shape", "num_classes"}


READY = [network for network in EXPORTED if not wanting(network)]
every_network = pytest.mark.parametrize("network", READY, ids=lambda network: network.__name__)


@pytest.fixture(scope="module")
def built():
    """Each network once, with its default settings, on the smallest of the images it takes."""
    built: dict[type, tuple[nn.Module, Tensor, Tensor]] = {}

    def build(network: type) -> tuple[nn.Module, Tensor, Tensor]:
        if network not in built:
            try:
                shape, model = DIGITS, network(DIGITS, 3)
            except ValueError:
                shape, model = MNIST, network(MNIST, 3)
            x = torch.randn(6, *shape, generator=torch.Generator().manual_seed(0))
            built[network] = model, x, torch.tensor([0, 1, 2, 0, 1, 2])
        return built[network]

    return build


def train(model: nn.Module, x: Tensor, y: Tensor, steps: int = 2) -> None:
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    model.train()
    for _ in range(steps):
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(model(x), y).backward()
        optimiser.step()


def seeded_reset(model: nn.Module, seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    model.reset_parameters()
    return pristine_state(model)


def test_what_wants_more_arguments_has_a_ready_made_kind():
    assert len(READY) >= 6
    for network in EXPORTED:
        assert network in READY or any(issubclass(other, network) for other in READY)


@pytest.mark.parametrize("network", EXPORTED, ids=lambda network: network.__name__)
def test_signature_and_documentation(network: type):
    parameters = inspect.signature(network).parameters
    assert list(parameters)[:2] == ["input_shape", "num_classes"]
    assert network.__doc__.splitlines()[0].endswith(".")
    for name in parameters:
        assert f"\n        {name}: " in network.__doc__


@every_network
def test_reset_forgets_training_buffers_included(network: type, built):
    model, x, y = built(network)
    fresh = seeded_reset(model, 1)
    train(model, x, y)
    trained = pristine_state(model)
    assert not any(torch.equal(fresh[name], trained[name]) for name in trained if "weight" in name)
    again = seeded_reset(model, 1)
    assert all(torch.equal(fresh[name], again[name]) for name in fresh)


@every_network
def test_another_seed_draws_every_matrix_anew(network: type, built):
    model, _, _ = built(network)
    one, two = seeded_reset(model, 1), seeded_reset(model, 2)
    *inner, last = [name for name, parameter in model.named_parameters() if parameter.ndim > 1]
    for name in inner:
        assert one[name].ne(two[name]).float().mean() > 0.99
    assert not one[last].equal(two[last]) or not one[last].any()  # the last layer may start at zero
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:  # biases and batch norm: constants
            assert one[name].equal(two[name])
            assert one[name].unique().numel() == 1


@every_network
def test_gradient_reaches_every_parameter(network: type, built):
    model, x, y = built(network)
    seeded_reset(model, 0)
    model.eval()  # nothing dropped
    for _ in range(2):  # a last layer of zeros lets no gradient through in the first step
        model.zero_grad()
        F.cross_entropy(model(x), y).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.01 * parameter.grad
    assert [name for name, parameter in model.named_parameters() if not parameter.grad.any()] == []


@every_network
def test_eval_is_deterministic_and_prices_each_input_alone(network: type, built):
    model, x, y = built(network)
    train(model, x, y, steps=1)
    model.eval()
    before = pristine_state(model)
    with torch.no_grad():
        whole = model(x)
        assert torch.equal(whole, model(x))
        torch.testing.assert_close(torch.cat([model(row[None]) for row in x]), whole, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(before[name], tensor) for name, tensor in pristine_state(model).items())


@every_network
@pytest.mark.parametrize("shape", [DIGITS, MNIST, CIFAR], ids=str)
def test_output_shape(network: type, shape: tuple[int, ...]):
    with torch.device("meta"):  # shapes without numbers
        if network is LeNet and shape == DIGITS:
            with pytest.raises(ValueError, match=r"use padding=2 or MLP\.$"):
                network(shape, 7)
        else:
            assert network(shape, 7).eval()(torch.empty(2, *shape)).shape == (2, 7)


@every_network
def test_vectors_are_read_or_refused(network: type):
    with torch.device("meta"):
        if network in (MLP, Bottleneck):
            assert network((5,), 3)(torch.empty(2, 5)).shape == (2, 3)
        else:
            with pytest.raises(ValueError, match=rf"{network.__name__} reads images .* not \(5,\)"):
                network((5,), 3)


@pytest.mark.parametrize(
    ("network", "shape", "options", "count"),
    [
        (MLP, MNIST, {}, 785 * 256 + 257 * 256 + 257 * 10),
        (MLP, MNIST, {"hidden": (200, 200)}, 199_210),  # Li et al. 2018
        (MLP, CIFAR, {"hidden": (200, 200)}, 656_810),  # Li et al. 2018
        (MLP, CIFAR, {"hidden": (512, 512)}, 1_841_162),
        (MLP, CIFAR, {"hidden": (5000,)}, 15_415_010),
        (MLP, MNIST, {"hidden": ()}, 7_850),
        (LeNet, MNIST, {}, 44_426),  # Li et al. 2018
        (LeNet, CIFAR, {}, 62_006),  # Li et al. 2018
        (LeNet, MNIST, {"filters": (8, 16), "hidden": ()}, 5_994),
        (LeNet, MNIST, {"filters": (8, 8, 16), "hidden": (), "padding": 2}, 208 + 1_608 + 3_216 + 1_450),
        (LeNet, MNIST, {"filters": (4,), "hidden": (20,), "kernel": 3}, 40 + 677 * 20 + 210),
        (TinyCNN, CIFAR, {}, 28 * 32 + 3 * 289 * 32 + 2049 * 256 + 257 * 256 + 2570),
        (TinyCNN, MNIST, {}, 498_090),
        (ConvNet, MNIST, {}, 9 * (24 + 24**2 + 24 * 48 + 48**2 + 48 * 96 + 96**2) + 4 * (24 + 48 + 96) + 970),
        (ConvNet, CIFAR, {}, 162_994),
        (VGG8, MNIST, {}, 1_305_834),
        (VGG8, MNIST, {"batch_norm": True}, 1_307_306),
        (SevenConv, CIFAR, {}, 9 * (3 * 128 + 63 * 128**2) + 1025 * 10),
        (SevenConv, CIFAR, {"channels": 16}, 146_874),
        (VGG13, CIFAR, {}, 14_982_474),
        (VGG13, CIFAR, {"batch_norm": True}, 14_987_210),
    ],
)
def test_parameter_count(network: type, shape: tuple[int, ...], options: dict, count: int):
    with torch.device("meta"):
        model = network(shape, 10, **options)
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    if not {"hidden"} & options.keys():
        assert f"{count:,}" in network.__doc__


def test_vgg13_has_the_weights_of_vgg16():
    with torch.device("meta"):
        model = VGG13(CIFAR, 10, batch_norm=True)
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 13
    assert sum(layer.weight.numel() for layer in convolutions) == 14_710_464
    assert sum(p.numel() for p in model.parameters() if p.ndim > 1) == 14_977_728  # "14.98 M", VIBNet's VGG16


def test_dropout_between_convolutions_is_zagoruykos():
    with torch.device("meta"):
        model = VGG13(CIFAR, 10, batch_norm=True, conv_dropout=(0.3, 0.4))
    dropped = [layer.p for layer in model.features if isinstance(layer, nn.Dropout)]
    assert dropped == [0.3] + [0.4] * 7
    assert [layer.p for layer in model.head if isinstance(layer, nn.Dropout)] == [0.5, 0.5]


def test_lenet_of_small_images_wants_padding():
    with pytest.raises(ValueError, match="use padding=2"):
        LeNet(DIGITS, 10)
    assert LeNet((1, 16, 16), 10)(torch.zeros(1, 1, 16, 16)).shape == (1, 10)
    assert LeNet((1, 4, 4), 10, padding=2)(torch.zeros(1, 1, 4, 4)).shape == (1, 10)


def test_lenet_of_more_filters_wants_a_map_that_is_left():
    assert LeNet(MNIST, 3, padding=2, filters=(2, 2, 2))(torch.zeros(1, *MNIST)).shape == (1, 3)
    for shape, options in (
        (MNIST, {"filters": (2, 2, 2)}),
        ((1, 4, 4), {"filters": (2, 2, 2), "padding": 2}),
    ):
        with pytest.raises(ValueError, match="leaves no pixel"):
            LeNet(shape, 3, **options)


def test_one_pixel_passes_through_every_stage():
    for network in (ConvNet, TinyCNN):
        assert network((1, 1, 1), 10).eval()(torch.zeros(1, 1, 1, 1)).shape == (1, 10)
    assert VGG((2, 1, 3), 10, ((4,), (5,)), (6,)).eval()(torch.zeros(1, 2, 1, 3)).shape == (1, 10)


def test_convnet_pools_down_to_two_pixels():
    for side, left in ((28, 7), (8, 2), (5, 3), (3, 3)):
        assert ConvNet((1, side, side), 10).features(torch.zeros(2, 1, side, side)).shape[2:] == (left, left)


def test_untrained_convnet_codes_at_the_uniform_length():
    model = ConvNet(DIGITS, 10)
    nats = F.cross_entropy(model(torch.randn(4, *DIGITS)), torch.arange(4))
    assert nats.item() == pytest.approx(math.log(10))


def test_xavier_and_kaiming():
    torch.manual_seed(0)
    weight = MLP((300,), 10, hidden=(200,)).layers[1].weight
    assert weight.abs().max().item() == pytest.approx(math.sqrt(6 / 500), rel=1e-3)
    layers = TinyCNN(DIGITS, 10).features
    convolution = [layer for layer in layers if isinstance(layer, nn.Conv2d)][-1]
    assert convolution.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 32)), rel=0.05)
