"""runtime.sparse: the pillar engine: grids in compressed pillar rows and convolutions on them."""

from .convolution import conv2d as conv2d
from .convolution import pack_weight as pack_weight
from .grid import PillarGrid as PillarGrid
from .grid import concatenate as concatenate
from .kernels import PackedWeight as PackedWeight
from .plan import BlockPlan as BlockPlan
from .rules import KINDS as KINDS
from .rules import Kind as Kind
from .rules import Rulebook as Rulebook
from .rules import build_rules as build_rules
