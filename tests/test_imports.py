"""Importing is light, public names exist and are documented, and the examples in docstrings are true."""

import doctest
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys

import pytest

PACKAGES = [
    "equikit",
    *(
        f"equikit.{name}"
        for name in (
            "auditing",
            "diagrams",
            "discover",
            "draw",
            "groups",
            "nn",
            "plans",
            "signatures",
            "spherical",
            "supports",
            "symmetrization",
            "testing",
            "weightspace",
        )
    ),
    "equikit.groups.lie",
    "equikit.symmetrization.canonicalization",
    "equikit.symmetrization.frames",
    "equikit.weightspace.asymmetric",
    "equikit.weightspace.graphs",
    "equikit.weightspace.teleportation",
]
SYMBOLIC = ["equikit.diagrams", "equikit.groups", "equikit.signatures"]


def modules_after(statement: str, *flags: str) -> set[str]:
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    return set(json.loads(ran.stdout))


@pytest.mark.parametrize(
    "statement",
    [
        "import equikit",
        "import equikit.groups",
        "import equikit.diagrams",
        'import equikit as ek\nspace = ek.hom("p p -> p", p=ek.S(3))\nspace.matrices()\nrepr(space.diagrams)',
    ],
    ids=["equikit", "groups", "diagrams", "a-space"],
)
def test_importing_is_light(statement):
    heavy = {"jax", "jaxlib", "flax", "optax", "matplotlib", "sympy", "networkx", "scipy", "rich", "typer", "IPython"}
    assert not modules_after(statement) & heavy


def test_the_groups_need_numpy_alone():
    more = modules_after("import equikit.groups") - modules_after("import numpy, dataclasses, abc, functools")
    outside = {name.split(".")[0] for name in more} - set(sys.stdlib_module_names) - {"equikit"}
    assert outside == set()


def test_plans_are_made_shown_and_priced_without_jax():
    statement = (
        "import sys\n"
        "sys.modules['jax'] = None\n"
        "import equikit as ek\n"
        "from equikit import plans\n"
        "import importlib, pkgutil\n"
        "rooms = [importlib.import_module('equikit.plans.' + name) for name in ('compilation', 'costs', 'readers')]\n"
        "names = [m.name for room in rooms for m in pkgutil.iter_modules(room.__path__, room.__name__ + '.')]\n"
        "others = ('._transpose', '._method', '._torch')\n"
        "assert len([importlib.import_module(name) for name in names if not name.endswith(others)]) > 15\n"
        'space = ek.hom("p p z -> p z", p=ek.S, z=ek.Z(3))\n'
        "plan = space.plan((2, 3), normalize='mean', bias=True)\n"
        "assert str(plan).splitlines()[-1].startswith('total') and plan._repr_html_() and plan.cost(n=4)\n"
        "assert plan.code() and plans.stages(space)\n"
        "import numpy as np\n"
        "weights = {name: np.ones(shape) for name, shape in plans.weight_shapes(plan).items()}\n"
        "assert plans.to_numpy(plan, weights)(np.ones((4, 4, 3, 2))).shape == (4, 3, 3)\n"
        'many = ek.hom("sym(x x) p, x z -> p z", x=ek.SO(3), p=ek.S, z=ek.D(3)).plan((2, 3))\n'
        "assert str(many).splitlines()[-1].startswith('total') and many.cost(n=4)\n"
        "try: plans.apply\n"
        "except ImportError: pass\n"
        "else: raise SystemExit(1)\n"
    )
    assert "equikit.plans._ir" in modules_after(statement)


def test_the_engine_works_without_asserts():
    statement = (
        "import equikit as ek\n"
        'space = ek.hom("p p -> p p", p=ek.S(3))\n'
        "if len(space.diagrams) != space.dim or space.dim != 14: raise SystemExit(1)\n"
        "try: ek.hom('p -> q', p=ek.S)\n"
        "except ek.SignatureError: pass\n"
        "else: raise SystemExit(2)\n"
    )
    assert "equikit" in modules_after(statement, "-O", "-W", "error")


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_exist_and_are_documented(package):
    module = importlib.import_module(package)
    assert module.__doc__
    assert len(module.__all__) == len(set(module.__all__))  # their order is the linter's
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        value = getattr(module, name)
        if name.startswith("__"):
            continue
        text = inspect.getdoc(value)
        assert text, f"{package}.{name} has no docstring"
        # The docstring that dataclass writes is only the signature.
        assert not text.startswith(f"{name}("), f"{package}.{name} has no docstring of its own"
        if not inspect.isclass(value) or not value.__module__.startswith("equikit"):
            continue
        for member, what in vars(value).items():
            if not member.startswith("_") and (inspect.isfunction(what) or isinstance(what, property | classmethod)):
                assert inspect.getdoc(what), f"{package}.{name}.{member} has no docstring"


def test_an_unknown_name_is_an_attribute_error():
    import equikit

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = equikit.nothing


def symbolic_modules() -> list[str]:
    names = []
    for package in SYMBOLIC:
        names.append(package)
        names += [m.name for m in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")]
    return names


def test_there_are_examples():
    tests = [t for name in symbolic_modules() for t in doctest.DocTestFinder().find(importlib.import_module(name))]
    assert sum(bool(t.examples) for t in tests) > 12
