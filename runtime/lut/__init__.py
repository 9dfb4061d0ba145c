"""runtime.lut: functions as tables of straight segments (NN-LUT), and operators that need nothing but integers."""

from .fitting import fit as fit
from .functions import TARGETS as TARGETS
from .functions import Target as Target
from .integer import IntegerTable as IntegerTable
from .integer import Levels as Levels
from .operators import NormTables as NormTables
from .operators import SoftmaxTables as SoftmaxTables
from .operators import build_norm as build_norm
from .operators import build_softmax as build_softmax
from .operators import quantise_affine as quantise_affine
from .table import LutTable as LutTable
from .table import ReluNetwork as ReluNetwork
