"""evaluate: how well a detector does on labelled recordings."""

from .curves import PrecisionRecall, average_precision, interpolated_precision, trace_curve
from .datasets import LAYOUTS, open_dataset
from .errors import ErrorAnalysis, analyse_errors
from .examples import ErrorExamples, choose_examples
from .kitti import KittiAp, kitti_ap
from .kitti_labels import KittiObjects, read_kitti_objects
from .matching import FrameResult
from .nuscenes import CentreFrame, nuscenes_ap
from .outcomes import Outcome
from .protocol import (
    CLASS_RULES,
    ClassRule,
    EvaluationProtocol,
    evaluate_detector,
    run_detector,
    score_results,
)
from .report import EvaluationReport, Figure, OperatingPoint
from .truth import CameraView, Dataset, GroundTruth, LabelledFrame

__all__ = [
    "CLASS_RULES",
    "LAYOUTS",
    "CameraView",
    "CentreFrame",
    "ClassRule",
    "Dataset",
    "ErrorAnalysis",
    "ErrorExamples",
    "EvaluationProtocol",
    "EvaluationReport",
    "Figure",
    "FrameResult",
    "GroundTruth",
    "KittiAp",
    "KittiObjects",
    "LabelledFrame",
    "OperatingPoint",
    "Outcome",
    "PrecisionRecall",
    "analyse_errors",
    "average_precision",
    "choose_examples",
    "evaluate_detector",
    "interpolated_precision",
    "kitti_ap",
    "nuscenes_ap",
    "open_dataset",
    "read_kitti_objects",
    "run_detector",
    "score_results",
    "trace_curve",
]
