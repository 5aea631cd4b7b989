"""What every public method and module of symmetrization does alike: tables of `nnx.tabulate`, checks of options."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from helpers import assert_tabulates, foreign_errors

import equikit as ek
from equikit import symmetrization
from equikit.symmetrization import canonicalization, frames

RNGS = nnx.Rngs(0)
POINTS = {"p": ek.S, "x": ek.O(3)}
CLOUD = jnp.array([[0.0, 1, 2], [1, 2, 4], [3, 0, 0], [2, 2, 2]])[..., None]
IMAGES = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))
SIGNAL = jnp.arange(8.0).reshape(2, 4, 1)


def energy(x):
    return jnp.sum(x[:, 0], axis=(-2, -1))


def scores(channels):
    return ek.nn.DeepSets(channels, [2], 1, out="p", rngs=RNGS)


CONVOLUTION = ek.nn.GroupConvolution(1, ek.Z(4), hidden=(2,), rngs=RNGS)
VECTORS = ek.nn.VectorNeurons({"p x": 1}, 3, channels=2, layers=1, rngs=RNGS, **POINTS)

CALLS = {
    **{name: (getattr(frames, name), (), {}) for name in frames.__all__},
    "Center": (frames.Center, ("x",), {}),
    "Stochastic": (frames.Stochastic, (frames.PCA(),), {}),
    "Canonicalize": (symmetrization.Canonicalize, (VECTORS, ek.O), {}),
    "Canonicalize-images": (symmetrization.Canonicalize, (CONVOLUTION, ek.Z(4)), {}),
    "EnergyCanonicalization": (
        canonicalization.EnergyCanonicalization,
        (lambda x: x[:, :, 0],),
        {"features": 4, "rngs": RNGS},
    ),
    "EnergyDescent": (canonicalization.EnergyDescent, (energy,), {"steps": 1, "on_degenerate": "flag"}),
    "ImageCanonicalization": (canonicalization.ImageCanonicalization, (CONVOLUTION, ek.Z(4)), {}),
    "PermutationCanonicalization": (canonicalization.PermutationCanonicalization, (scores(3),), {}),
    "RotationCanonicalization": (
        canonicalization.RotationCanonicalization,
        (VECTORS,),
        {"on_degenerate": "flag"},
    ),
    "FineToCoarse": (symmetrization.FineToCoarse, (2, [0.5]), {}),
    "OrbitDistance": (
        symmetrization.OrbitDistance,
        (ek.nn.MatrixMLP(12, 3, axes=3, hidden=(2,), rngs=RNGS), "x"),
        {"invariant_to": "p"},
    ),
    "Probabilistic": (symmetrization.Probabilistic, (scores(4),), {}),
    "symmetrize": (ek.symmetrize, (jnp.sin, "p x -> p x"), {"how": [frames.PCA(), frames.Sort()], **POINTS}),
    "piecewise": (symmetrization.piecewise, (jnp.sin, "p x -> p x"), {"how": frames.PCA(), **POINTS}),
}


def made(name):
    call, arguments, keywords = CALLS[name]
    return call(*arguments, **keywords)


def wrapped(name, signature="p x -> p x", backbone=jnp.sin, **groups):
    return ek.symmetrize(backbone, signature, how=made(name), **(groups or POINTS))


def modules():
    """Every module that can be called, methods in what `symmetrize` makes of them, with inputs."""
    fixed, grid = {"p": ek.S, "x": ek.Fixed(3)}, {"i": ek.Fixed(8), "j": ek.Fixed(8)}
    stochastic = frames.Stochastic(made("RotationCanonicalization"))
    return {
        "EnergyCanonicalization": (wrapped("EnergyCanonicalization", "t -> t", t=ek.Z(4)), [SIGNAL]),
        "EnergyDescent": (wrapped("EnergyDescent", p=ek.Fixed(4), x=ek.O(3)), [CLOUD]),
        "ImageCanonicalization": (
            wrapped("ImageCanonicalization", "i j -> ", lambda x: x[..., 0, 0, :], **grid),
            [IMAGES],
        ),
        "PermutationCanonicalization": (wrapped("PermutationCanonicalization", **fixed), [CLOUD]),
        "RotationCanonicalization": (wrapped("RotationCanonicalization"), [CLOUD]),
        "FineToCoarse": (made("FineToCoarse"), [CLOUD]),
        "OrbitDistance": (wrapped("OrbitDistance", p=ek.Fixed(4), x=ek.O(3)), [CLOUD]),
        "Probabilistic": (wrapped("Probabilistic", **fixed), [CLOUD]),
        "Stochastic": (ek.symmetrize(jnp.sin, "p x -> p x", how=stochastic, **POINTS), [CLOUD]),
        "piecewise": (
            symmetrization.piecewise(
                nnx.Linear(1, 1, rngs=RNGS),
                "p x -> p x",
                how=frames.PCA(on_degenerate="flag"),
                parts=made("FineToCoarse"),
                **POINTS,
            ),
            [CLOUD],
        ),
    }


MODULES = modules()


def test_every_public_method_and_module_is_tried():
    public = {getattr(place, name) for place in (symmetrization, canonicalization, frames) for name in place.__all__}
    networks = {getattr(ek.nn, name) for name in ek.nn.__all__}  # which the tests of layers try
    classes = {kind for kind in public - networks if isinstance(kind, type)}
    assert {kind for kind in classes if issubclass(kind, nnx.Module)} <= {CALLS[name][0] for name in MODULES}
    methods = {kind for kind in classes if issubclass(kind, symmetrization.Method)} - {symmetrization.Method}
    assert methods <= {call for call, *_ in CALLS.values()}


@pytest.mark.usefixtures("quick_compile")
@pytest.mark.parametrize("name", MODULES)
def test_tabulate_shows_a_module_and_leaves_nnx_working(name):
    module, inputs = MODULES[name]
    keywords = {"key": jax.random.key(0)} if name in ("Probabilistic", "Stochastic") else {}
    assert_tabulates(module, *inputs, **keywords)


@pytest.mark.parametrize("name", CALLS)
def test_strange_arguments_raise_errors_of_equikit_alone(name):
    assert foreign_errors(*CALLS[name]) == []


@pytest.mark.parametrize(
    ("name", "option", "near"),
    [
        ("Canonicalize", "on_degenrate", "on_degenerate"),
        ("Canonicalize-images", "selecton", "selection"),
        ("symmetrize", "chunk_sise", "chunk_size"),
        ("piecewise", "treshold", "threshold"),
        ("piecewise", "translat", "translate"),
    ],
)
def test_a_misspelled_option_is_answered_with_the_nearest_one(name, option, near):
    call, arguments, keywords = CALLS[name]
    with pytest.raises(ek.OptionError) as caught:
        call(*arguments, **keywords, **{option: None})
    assert caught.value.problem == f"{call.__name__} has no option {option!r}"
    assert caught.value.step == f"write {near}="


@pytest.mark.parametrize("name", ["symmetrize", "piecewise", "Canonicalize"])
def test_what_has_no_parameters_takes_no_random_keys(name):
    call, arguments, keywords = CALLS[name]
    with pytest.raises(ek.OptionError) as caught:
        call(*arguments, **keywords, rngs=RNGS)
    assert caught.value.step == "remove rngs="


def test_networks_of_methods_keep_their_first_names():
    for name in ("VectorNeurons", "GroupConvolution"):
        assert getattr(canonicalization, name) is getattr(ek.nn, name)
    for name in ("MatrixMLP", "MatrixNetwork"):
        assert getattr(symmetrization, name) is getattr(ek.nn, name)
