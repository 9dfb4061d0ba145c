"""runtime.quant: number formats, what finds their steps on calibration data, and post-training quantisation."""

from .activations import ActivationFormat as ActivationFormat
from .binary_coding import BinaryCodingFormat as BinaryCodingFormat
from .calibration import cut_samples as cut_samples
from .calibration import cut_stream as cut_stream
from .clipping import METHODS as METHODS
from .clipping import Method as Method
from .clipping import find_top as find_top
from .dint import DIntFormat as DIntFormat
from .formats import IntegerImage as IntegerImage
from .histogram import ValueHistogram as ValueHistogram
from .matrices import QuantisedTensor as QuantisedTensor
from .matrices import WeightFormat as WeightFormat
from .packing import pack_codes as pack_codes
from .packing import unpack_codes as unpack_codes
from .scheme import QuantisedMatrix as QuantisedMatrix
from .scheme import Scheme as Scheme
from .scheme import quantise_matrix as quantise_matrix
from .scheme_names import parse_scheme as parse_scheme
from .ternary import TernaryFormat as TernaryFormat
from .uniform import LARGEST_INT32 as LARGEST_INT32
from .uniform import LARGEST_UINT8 as LARGEST_UINT8
from .uniform import SymmetricWeights as SymmetricWeights
from .uniform import UniformFormat as UniformFormat
from .uniform import largest_sum as largest_sum
from .uniform import quantise_unsigned as quantise_unsigned
from .uniform import quantise_weights as quantise_weights
