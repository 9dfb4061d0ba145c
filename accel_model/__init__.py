"""accel_model: cycles and energy of a trace on a sparse-pillar, dense or transformer accelerator."""

from .cost import ActionCounts, LayerCost
from .report import Band, LayerReport, Report
from .spec import Spec

__all__ = ["ActionCounts", "Band", "LayerCost", "LayerReport", "Report", "Spec"]
