"""Every use of every weight: the walk over the linear program, the site rules, the plan, the algebra of outer products.

At a use that is linear in a weight (a product, a convolution, a lookup; once, at every position, in every iteration of
a scan) the gradient is a sum of outer products of what goes in and of the cotangent of what comes out. `per_example`
makes norms and sums of them, `curvature` Kronecker factors.
"""
