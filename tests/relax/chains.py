"""Chains that the tests of splits share, with their dimensions by independent counts."""

import numpy as np

from equikit import SO, D, H, MatrixGroup, O, S, Sp, Trivial, Z

TURN = [[0, -1, 0], [1, 0, 0], [0, 0, 0]]
ABOUT_Z = MatrixGroup([np.diag([1, -1, 1]), np.diag([1, 1, -1])], lie_algebra=[TURN], name="about z")

CHAINS = {
    "O(3)": [O(3), O(2) + O(1), Trivial(3)],
    "SO(3)": [O(3), SO(3), SO(2) + Trivial(1)],
    "Lorentz": [O(1, 3), O(1) + O(3), Trivial(4)],
    "symplectic": [Sp(2), Trivial(2)],
    "permutations": [S(4), D(4), Z(4), Trivial(4)],
    "signs": [O(3), H(3), S(3)],
    "matrices": [O(3), ABOUT_Z, MatrixGroup(lie_algebra=[TURN])],
}
