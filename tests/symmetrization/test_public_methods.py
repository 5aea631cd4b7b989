"""What every public method and module of symmetrization does alike: tables of `nnx.tabulate`, checks of options."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from helpers import STRANGE, assert_compiles, assert_tabulates, foreign_errors

import equikit as ek
from equikit import symmetrization
from equikit.symmetrization import canonicalization, frames

RNGS = nnx.Rngs(0)
POINTS = {"p": ek.S, "x": ek.O(3)}
CLOUD = jnp.array([[0.0, 1, 2], [1, 2, 4], [3, 0, 0], [2, 2, 2]])[..., None]
PLANE, FLAT = {"p": ek.S, "x": ek.O(2)}, CLOUD[:, :2]
"""Points of a plane, whose frames are small programs."""

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
        "EnergyDescent": (wrapped("EnergyDescent", p=ek.Fixed(4), x=ek.O(2)), [FLAT]),
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


every_module = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "Stochastic" else name for name in MODULES]
)


def keywords_of(name):
    return {"key": jax.random.key(0)} if name in ("Probabilistic", "Stochastic") else {}


@every_module
def test_tabulate_shows_a_module_and_leaves_nnx_working(name):
    module, inputs = MODULES[name]
    assert_tabulates(module, *inputs, **keywords_of(name))


@every_module
def test_xla_computes_what_numpy_evaluates(name):
    module, inputs = MODULES[name]
    assert_compiles(module, *inputs, **keywords_of(name))


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


INFO = {
    name: wrapped(name, **groups).info(CLOUD)
    for name, groups in {
        "OrbitDistance": {"p": ek.Fixed(4), "x": ek.O(3)},
        "PermutationCanonicalization": {"p": ek.S, "x": ek.Fixed(3)},
        "PCA": POINTS,
    }.items()
}
INFO["EnergyCanonicalization"] = wrapped("EnergyCanonicalization", "t -> t", t=ek.Z(4)).info(SIGNAL)
ELEMENT = wrapped("PCA").frame(CLOUD).elements
FUNCTIONS = {
    "eigh": (symmetrization.eigh, (jnp.eye(3),)),
    "compose": (symmetrization.compose, (ELEMENT, ELEMENT)),
    "inverse": (symmetrization.inverse, (ELEMENT, {"x": ek.O(3)})),
    "invariants": (symmetrization.invariants, (ek.O(3), jnp.ones((2, 3)))),
    "orbit_distance": (symmetrization.orbit_distance, (ek.O(3), jnp.eye(3))),
    "orbit_loss": (symmetrization.orbit_loss, (INFO["OrbitDistance"],)),
    "matrix_equivariance_loss": (
        symmetrization.matrix_equivariance_loss,
        (INFO["OrbitDistance"], INFO["OrbitDistance"], jnp.eye(3)),
    ),
    "assignment_entropy": (canonicalization.assignment_entropy, (INFO["PermutationCanonicalization"],)),
    "prior_loss": (canonicalization.prior_loss, (INFO["EnergyCanonicalization"],)),
    "separation_loss": (canonicalization.separation_loss, (INFO["EnergyCanonicalization"],)),
    "sinkhorn": (canonicalization.sinkhorn, (jnp.ones((3, 3)),)),
    "soft_sort": (canonicalization.soft_sort, (jnp.arange(3.0), 0.1)),
}


def foreign(calls):
    """The errors that are not ours among those of some calls."""
    found = []
    for what, call in calls:
        try:
            call()
        except ek.EquikitError:
            pass
        except Exception as error:
            found.append(f"{what}: {error!r}")
    return found


def test_every_public_function_is_tried():
    public = {getattr(place, name) for place in (symmetrization, canonicalization) for name in place.__all__}
    functions = {each for each in public if callable(each) and not isinstance(each, type)}
    assert functions <= {call for call, *_ in (*FUNCTIONS.values(), *CALLS.values())}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_strange_arguments_of_functions_raise_errors_of_equikit_alone(name):
    call, arguments = FUNCTIONS[name]
    assert foreign_errors(call, arguments, {}) == []
    infos = [place for place, argument in enumerate(arguments) if isinstance(argument, symmetrization.Info)]
    others = [(*arguments[:place], info, *arguments[place + 1 :]) for place in infos for info in INFO.values()]
    assert foreign([(given, lambda given=given: call(*given)) for given in others]) == []


PIECES = symmetrization.piecewise(jnp.sin, "p x -> p x", how=frames.PCA(on_degenerate="flag"), **POINTS)
SYMMETRIZED = {
    **{name: (module, inputs[0], {}) for name, (module, inputs) in MODULES.items() if hasattr(module, "frame")},
    "symmetrize": (made("symmetrize"), CLOUD, {}),
    "parts": (PIECES, CLOUD, {"parts": jnp.ones((4, 2))}),
    "terms": (
        ek.symmetrize(lambda x: x["a"], {"a": "p x", "b": "p"}, {"a": "p x"}, how=frames.PCA(), **POINTS),
        {"a": CLOUD, "b": jnp.ones((4, 1))},
        {},
    ),
}


@pytest.mark.parametrize("name", SYMMETRIZED)
def test_strange_inputs_of_what_is_symmetrized_raise_errors_of_equikit_alone(name):
    sym, x, more = SYMMETRIZED[name]
    key = jax.random.key(0)
    calls = []
    for value in STRANGE:
        strange = [{"mask": value}, {"mask": {"p": value}}, {"with_info": value}]
        strange += [{"parts": value}] if more else []
        calls += [(each, lambda each=each: sym(x, **{"key": key, **more, **each})) for each in strange]
        calls += [(f"key={value!r}", lambda value=value: sym(x, **more, key=value))]
        calls += [(f"frame, key={value!r}", lambda value=value: sym.frame(x, **more, key=value))]
        inputs = [value, *({**x, term: value} for term in x)] if name == "terms" else [value, {"p x": value}]
        calls += [(f"x={each!r}", lambda each=each: sym(each, **more, key=key)) for each in inputs]
    assert foreign(calls) == []


def returning(value):
    return lambda x, **_: value


def with_mask(how, backbone=lambda x, mask=None: x, mask=True, **groups):
    sym = ek.symmetrize(backbone, "p x -> p x", how=how, **groups)
    return sym(FLAT, key=jax.random.key(0), **({"mask": {"p": jnp.ones(4, bool)}} if mask else {}))


RETURNED = (
    *(1, 2.5, None, "x", (), [], {}, (1, 2), object(), True, 1j, {"x": 1}, {"x": None}, {"p x": FLAT}),
    *(jnp.ones(()), jnp.ones(3), jnp.ones((4, 2, 1), int), jnp.ones((4, 1), bool), jnp.zeros(0), FLAT + 0j),
    *((FLAT,), [FLAT], jax.random.key(0), FLAT.astype(jnp.bfloat16), jnp.ones((1, 4)), jnp.ones((4, 2))),
)
NETWORKS = [
    *((f"returns {value!r}", returning(value)) for value in RETURNED),
    *(("without arguments", lambda: FLAT), ("with two arguments", lambda x, y: x), ("without mask", lambda x: x)),
    *(
        ("its input", lambda x, **_: x),
        ("a class", int),
        ("a sum", lambda x, **_: sum(map(jnp.sum, jax.tree.leaves(x)))),
    ),
]
FIXED, GRID = {"p": ek.S(4), "x": ek.Fixed(2)}, {"i": ek.Fixed(8), "j": ek.Fixed(8)}
FLAGGED = frames.PCA(on_degenerate="flag")
PLACES = {
    "symmetrize": lambda net: with_mask(frames.PCA(), net, **PLANE),
    "one sample": lambda net: ek.symmetrize(net, "p x -> p x", how=frames.PCA(), batched=False, **PLANE)(FLAT[None]),
    "piecewise": lambda net: symmetrization.piecewise(net, "p x -> p x", how=FLAGGED, **PLANE)(
        FLAT, parts=jnp.ones((4, 2))
    ),
    "parts": lambda net: symmetrization.piecewise(lambda x, mask: x, "p x -> p x", how=FLAGGED, parts=net, **PLANE)(
        FLAT, mask={"p": jnp.ones(4, bool)}
    ),
    "votes": lambda net: symmetrization.FineToCoarse(2, [0.5, 0.3], votes=[net])(FLAT, mask={"p": jnp.ones(4, bool)}),
    "Rotation": lambda net: with_mask(canonicalization.RotationCanonicalization(net), **PLANE),
    "Permutation": lambda net: with_mask(canonicalization.PermutationCanonicalization(net), **FIXED),
    "Image": lambda net: ek.symmetrize(
        lambda x: x[..., 0, 0, :], "i j -> ", how=canonicalization.ImageCanonicalization(net, ek.Z(4)), **GRID
    )(IMAGES),
    "Energy": lambda net: with_mask(canonicalization.EnergyCanonicalization(net, label="p"), **FIXED),
    "vectors": lambda net: with_mask(
        canonicalization.EnergyCanonicalization(net, label="p", features=4, rngs=RNGS), **FIXED
    ),
    "Descent": lambda net: with_mask(canonicalization.EnergyDescent(net, steps=1, on_degenerate="flag"), **PLANE),
    "OrbitDistance": lambda net: with_mask(symmetrization.OrbitDistance(net, "x"), **PLANE),
    "Probabilistic-S": lambda net: with_mask(symmetrization.Probabilistic(net), **FIXED),
    "Probabilistic-O": lambda net: with_mask(symmetrization.Probabilistic(net), mask=False, p=ek.Fixed(4), x=ek.O(2)),
}


@pytest.mark.parametrize("place", PLACES)
def test_strange_networks_raise_errors_of_equikit_alone(place):
    networks = [*NETWORKS, *((repr(value), value) for value in STRANGE)]
    assert foreign([(what, lambda net=net: PLACES[place](net)) for what, net in networks]) == []


FLAGS = [
    *((name, option) for name in ("symmetrize", "piecewise") for option in ("channels", "remat", "batched")),
    *(("PCA", "differentiable"), ("QR", "differentiable"), ("piecewise", "hard"), ("OrbitDistance", "compare_input")),
]


@pytest.mark.parametrize(("name", "option"), FLAGS)
def test_a_flag_is_true_or_false(name, option):
    call, arguments, keywords = CALLS[name]
    for value in STRANGE:
        if not isinstance(value, bool):
            with pytest.raises(ek.OptionError, match=f"{option}= must be True or False"):
                call(*arguments, **{**keywords, option: value})
