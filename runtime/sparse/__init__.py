"""runtime.sparse: the pillar engine: grids in compressed pillar rows and convolutions on them."""

from .convolution import conv2d as conv2d
from .convolution import convolve_grid as convolve_grid
from .forms import HAS_FAST_INT8 as HAS_FAST_INT8
from .grid import PillarGrid as PillarGrid
from .grid import concatenate as concatenate
from .kernels import Operation as Operation
from .kernels import prepare_float as prepare_float
from .kernels import prepare_integer as prepare_integer
from .plan import BlockPlan as BlockPlan
from .rescale import Dequantise as Dequantise
from .rescale import Requantise as Requantise
from .rescale import Rescale as Rescale
from .rules import KINDS as KINDS
from .rules import MOST_TAPS as MOST_TAPS
from .rules import Kind as Kind
from .rules import Rulebook as Rulebook
from .rules import build_rules as build_rules
from .weights import PackedWeight as PackedWeight
from .weights import pack_weight as pack_weight
