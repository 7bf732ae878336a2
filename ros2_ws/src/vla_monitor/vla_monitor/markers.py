# SPDX-License-Identifier: Apache-2.0

"""Shapes as visualization_msgs/Marker."""

from collections.abc import Iterable

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from vla_monitor.scene import LINE, POINTS, SEGMENTS, TEXT, Shape

KINDS = {
    LINE: Marker.LINE_STRIP,
    SEGMENTS: Marker.LINE_LIST,
    POINTS: Marker.SPHERE_LIST,
    TEXT: Marker.TEXT_VIEW_FACING,
}


def marker(shape: Shape, frame: str, stamp: Time) -> Marker:
    """One shape; without a kind it deletes what was drawn under its name."""
    msg = Marker(ns=shape.space, id=shape.number, action=Marker.ADD if shape.kind else Marker.DELETE)
    msg.header.frame_id, msg.header.stamp = frame, stamp
    if not shape.kind:
        return msg
    msg.type = KINDS[shape.kind]
    msg.pose.orientation.w = 1.0
    red, green, blue = shape.color
    colors = [ColorRGBA(r=red, g=green, b=blue, a=float(alpha)) for alpha in shape.alpha]
    points = [Point(x=x, y=y, z=z) for x, y, z in shape.points.tolist()]
    msg.color = colors[-1]
    if shape.kind == TEXT:
        msg.text, msg.scale.z, msg.pose.position = shape.text, shape.size, points[0]
        return msg
    msg.scale.x = shape.size
    if shape.kind == POINTS:
        msg.scale.y = msg.scale.z = shape.size
    msg.points, msg.colors = points, colors
    return msg


def marker_array(shapes: Iterable[Shape], frame: str, stamp: Time) -> MarkerArray:
    """All shapes of a moment."""
    return MarkerArray(markers=[marker(shape, frame, stamp) for shape in shapes])
