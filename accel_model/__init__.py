"""accel_model: cycles and energy of a trace on a sparse-pillar, dense or transformer accelerator."""

from .cost import ActionCounts, LayerCost
from .report import Band, LayerReport, Report
from .simulate import simulate
from .spec import Spec
from .spec_files import load_spec, preset_names

__all__ = [
    "ActionCounts",
    "Band",
    "LayerCost",
    "LayerReport",
    "Report",
    "Spec",
    "load_spec",
    "preset_names",
    "simulate",
]
