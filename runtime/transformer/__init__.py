"""transformer: transformers in ONNX, quantised, on onnxruntime."""

from .attention_reuse import parse_groups as parse_groups
from .quantise import Quantised as Quantised
from .quantise import quantize as quantize
from .quantise import quantize_model as quantize_model
from .report import Comparison as Comparison
from .report import compare as compare
from .samples import Samples as Samples
from .samples import read_samples as read_samples
from .session import Session as Session
from .session import load as load
from .tracing import trace_operations as trace_operations
