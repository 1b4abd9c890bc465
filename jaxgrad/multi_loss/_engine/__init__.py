"""Small programs over the weights of several losses, on the device, with derivatives.

Everything here is told in cosines, which have no scale: see `of_unit_rows`. A rule needs no solver of its own. What it
needs is one of these.

- `nearest`: a quadratic over the orthant, for one or many right-hand sides. Duals of projections are of this kind.
- `shortest`: the shortest vector among the weighted means of the rows.
- `farthest_fair`: the best of the worst slopes within a ball.
- `equilibrium`: the positive solution of ``A y = q / y^p``.
- `inverse_root`: the inverse square root of a matrix.
- `inverse`, `pseudo_inverse`: of a small matrix, with derivatives of any order where it is singular too.
"""
