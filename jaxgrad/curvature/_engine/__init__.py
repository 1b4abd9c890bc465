"""What the second derivatives share: differentiating a gradient, and naming what cannot be differentiated forward."""
