"""Every next step that is code is executed, and its source says so: a new one fails until it has a row here.

`test_next_steps.py` follows steps that change the keywords of the call. Rows are in `steps_of_*.py`, a file for each
subject. A row of `CALL` has a call that fails, the code that its next step has to contain, and either nothing, where
the code is keywords that let the call succeed, or the names with which the code can be evaluated.
"""

import functools
import importlib
from pathlib import Path

import pytest
from names_of_steps import NAMES
from next_steps import code_steps, matches
from test_next_steps import BUILDS, CASES, COMMANDS, TEXTS
from typer.testing import CliRunner

import equikit as ek
from equikit.cli import app

CALL = {}
for path in sorted(Path(__file__).parent.glob("steps_of_*.py")):
    rows = importlib.import_module(path.stem).CALL
    assert not rows.keys() & CALL.keys(), "a row would replace another one"
    CALL |= rows


@pytest.mark.parametrize("name", CALL)
def test_the_code_of_a_next_step_is_executed(name):
    call, code, names = CALL[name]
    with pytest.raises(ek.EquikitError) as caught:
        call()
    assert code in caught.value.step
    if names is None:
        call(**eval(f"dict({code})", NAMES))
    elif callable(names):
        names(code)
    else:
        assert eval(code, NAMES | names) is not None


NOT_EXECUTED = {
    'look at spec.reasons; to accept this group, write warnings.simplefilter("ignore", equikit.TraceWarning) before '
    "the call",
    "multiply the matrices, diagram.matrix(n)",
    "name the group, as in Diagram.parse(..., {}=ek.Z(4))",
    "pass batch={}, or other devices",
    "pick the irreps with e3j.core.Filter, or add zeros; pseudo=True changes the parity",
    "pick the irreps with y.filter(...), or add zeros; pseudo=True changes the parity",
    "work with the matrices, diagram.matrix(n)",
    "write MatrixGroup(..., exact=False), for a numerical basis",
    'write jax.reshard(strain, jax.P("data")), with the axis of your mesh',
}
"""Steps that need several devices, e3nn-jax or e3j, a warning, and errors that take many seconds to reach."""


def failure(call):
    with pytest.raises(ek.EquikitError) as caught:
        call()
    return caught.value.step


def test_every_next_step_that_is_code_is_executed():
    with_keywords = [functools.partial(call, **keywords) for call, keywords in CASES.values()]
    others = [*BUILDS.values(), *(call for call, _ in TEXTS.values()), *(call for call, *_ in CALL.values())]
    steps = {failure(call) for call in (*with_keywords, *others)}
    for words in COMMANDS.values():
        steps.add(CliRunner().invoke(app, words).stderr.rpartition("next step: ")[2].strip())
    missing = {text for text in code_steps() if not any(matches(text, step) for step in steps)}
    assert missing == NOT_EXECUTED
