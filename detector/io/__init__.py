"""io: recordings in and out, in whatever format a LiDAR was recorded to."""

from .info import RecordingInfo, describe
from .recording import Recording, open_recording
from .sniffing import FORMATS
from .sources import Guess
from .writing import round_frames, write_recording

__all__ = [
    "FORMATS",
    "Guess",
    "Recording",
    "RecordingInfo",
    "describe",
    "open_recording",
    "round_frames",
    "write_recording",
]
