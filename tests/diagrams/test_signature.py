"""Signatures as values: what follows from the fields is computed once and cannot be changed by a caller."""

import copy
import pickle
import subprocess
import sys

import pytest

from equikit import Fixed, S, U, hom


def signature(n=3):
    return hom("p u f + u* u* -> p", p=S(n), u=U, f=Fixed(2)).signature


def test_derived_values_are_computed_once():
    one = signature()
    for name in ("bound", "groups", "sizes"):
        assert getattr(one, name) is getattr(one, name)


@pytest.mark.parametrize("name", ["bound", "groups", "sizes"])
def test_a_caller_cannot_change_what_others_read(name):
    with pytest.raises(TypeError, match="does not support item assignment"):
        getattr(signature(), name)["p"] = None


def test_equality_and_hash_are_those_of_the_fields():
    one, other = signature(), signature()
    assert one == other
    assert hash(one) == hash(other)
    assert {one: 1}[other] == 1
    assert one != signature(4)
    assert repr(one) == repr(other)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_are_equal_and_work(copied):
    one = signature()
    before = hash(one), one.sizes
    other = copied(one)
    assert other == one
    assert (hash(other), other.sizes) == before


def test_a_pickled_signature_has_the_hash_of_its_new_process():
    one = signature()
    hash(one)
    code = (
        "import pickle, sys; one = pickle.loads(bytes.fromhex(sys.argv[1])); "
        "from equikit.signatures import Signature; "
        "assert hash(one) == hash(Signature(one.inputs, one.outputs, one.bindings))"
    )
    subprocess.run([sys.executable, "-c", code, pickle.dumps(one).hex()], check=True)
