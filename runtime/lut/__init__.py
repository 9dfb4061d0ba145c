"""runtime.lut: functions as tables of straight segments (NN-LUT), and operators that need nothing but integers."""

from .baselines import fit_equal as fit_equal
from .baselines import fit_exponential_mode as fit_exponential_mode
from .baselines import fit_near_optimal as fit_near_optimal
from .calibration import calibrate as calibrate
from .fitting import fit as fit
from .functions import TARGETS as TARGETS
from .functions import Target as Target
from .integer import IntegerTable as IntegerTable
from .integer import Levels as Levels
from .operators import NormTables as NormTables
from .operators import SoftmaxTables as SoftmaxTables
from .operators import build_norm as build_norm
from .operators import build_softmax as build_softmax
from .operators import fit_exponential as fit_exponential
from .operators import quantise_affine as quantise_affine
from .scaling import ScaledTable as ScaledTable
from .table import LutTable as LutTable
from .table import ReluNetwork as ReluNetwork
