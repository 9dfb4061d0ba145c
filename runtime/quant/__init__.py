"""runtime.quant: number formats, and what finds their steps on calibration data."""

from .clipping import METHODS as METHODS
from .clipping import Method as Method
from .clipping import find_top as find_top
from .histogram import ValueHistogram as ValueHistogram
from .uniform import LARGEST_INT32 as LARGEST_INT32
from .uniform import LARGEST_UINT8 as LARGEST_UINT8
from .uniform import SymmetricWeights as SymmetricWeights
from .uniform import largest_sum as largest_sum
from .uniform import quantise_unsigned as quantise_unsigned
from .uniform import quantise_weights as quantise_weights
