"""export: detections on disk: JSON lines and KITTI label text, with readers of both."""

from .json_lines import FrameResult, JsonLinesWriter, read_json_lines
from .kitti_text import KittiCamera, KittiTextWriter, read_kitti_camera, read_kitti_text

__all__ = [
    "FrameResult",
    "JsonLinesWriter",
    "KittiCamera",
    "KittiTextWriter",
    "read_json_lines",
    "read_kitti_camera",
    "read_kitti_text",
]
