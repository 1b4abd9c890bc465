"""One judge: the error of a leaf, its rounding in units of torch's own, and every threshold. It knows no models."""

from jaxgrad.verify.judge._arrays import to_numpy as to_numpy
from jaxgrad.verify.judge._leaf import floor_of as floor_of
from jaxgrad.verify.judge._leaf import ratio_and_cosine as ratio_and_cosine
from jaxgrad.verify.judge._leaf import relative as relative
from jaxgrad.verify.judge._leaf import size as size
from jaxgrad.verify.judge._leaf import whole as whole
from jaxgrad.verify.judge._rounding import allowed_multiple as allowed_multiple
from jaxgrad.verify.judge._rounding import multiples as multiples
from jaxgrad.verify.judge._verdict import Difference as Difference
from jaxgrad.verify.judge._verdict import Verdict as Verdict
from jaxgrad.verify.judge._verdict import compare as compare
from jaxgrad.verify.judge._verdict import judge as judge
from jaxgrad.verify.judge._verdict import noise_multiple as noise_multiple
from jaxgrad.verify.judge._verdict import worst as worst
