"""Faces of a video: found, followed, and their mouths cut out."""

from unmingle.video.tracking import FaceTrack, find_faces

__all__ = ["FaceTrack", "find_faces"]
