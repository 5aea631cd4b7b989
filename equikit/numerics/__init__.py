"""Linear algebra in twice the precision of a dtype, and eigenvectors of small matrices."""
