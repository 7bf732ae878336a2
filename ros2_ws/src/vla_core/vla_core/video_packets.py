# SPDX-License-Identifier: Apache-2.0

"""What the packets of an encoded video stream say of themselves, without decoding them.

Reads the first bytes of each picture: ITU-T H.264 (7.3: NAL units, sequence parameter set, slice header), ITU-T H.265
(7.3: NAL units, parameter sets, slice segment header), AV1 (5.3: OBUs), VP9 (6.2: uncompressed header). No library is
needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from vla_core.errors import DamagedError, DecoderError, listing, nearest_name
from vla_core.images import as_bytes

FORMATS = {"h264": "h264", "h265": "hevc", "hevc": "hevc", "av1": "av1", "vp9": "vp9"}
"""Format of a CompressedVideo, or codec of libav, to the codec."""
# ffmpeg_image_transport names the encoder where it is not the codec's own name.
_ENCODERS = {"libx264": "h264", "libx265": "hevc", "libsvtav1": "av1", "libaom-av1": "av1", "libvpx-vp9": "vp9"}
_START = b"\x00\x00\x01"
_H264_IDR, _H264_SPS = 5, 7
_H264_B_SLICES = (1, 6)
_HEVC_LEADING, _HEVC_IRAP, _HEVC_IDR = range(6, 10), range(16, 22), (19, 20)
_HEVC_VPS, _HEVC_SPS, _HEVC_PPS = 32, 33, 34
# By how much the picture order count grows from picture to picture, where none is sent out of order.
_USUAL_STEPS = (1, 2)
_AV1_SEQUENCE, _AV1_FRAME_HEADER, _AV1_FRAME = 1, 3, 6
# Profiles of H.264 whose sequence parameter set begins with the chroma format (7.3.2.1.1).
_H264_HIGH = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
_HEADER_BYTES = 160


@dataclass(frozen=True, slots=True)
class Packet:
    """One picture of a stream.

    Attributes:
        codec: h264, hevc, av1 or vp9.
        data: The bytes to decode.
        keyframe: Whether decoding can start here: a keyframe with its parameter sets.
        reordered: Whether it is known to be shown at another place than it is sent (B-frames, leading pictures).
        number: Counter of the sender, which grows by one from picture to picture, or None.
        reference: Of H.264: whether later pictures may refer to this one.
        kind: Of H.264 and H.265: type of the NAL unit that holds the picture.
        slice_bits: Of H.264 and H.265: the beginning of the first slice header.
        layout: Of H.264 and H.265, where the packet has parameter sets: what it takes to read the counter in slice headers.
    """

    codec: str
    data: bytes
    keyframe: bool
    reordered: bool = False
    number: int | None = None
    reference: bool = True
    kind: int = 0
    slice_bits: bytes = b""
    layout: tuple[int, ...] = ()


def packet_of(msg: Any) -> Packet:
    """Return the packet in a foxglove_msgs/CompressedVideo or a ffmpeg_image_transport_msgs/FFMPEGPacket.

    Raises:
        DecoderError: the codec is not supported.
        DamagedError: the data are no picture of that codec.
    """
    ffmpeg = hasattr(msg, "pts")
    try:
        stated, data = str(msg.encoding if ffmpeg else msg.format), as_bytes(msg.data).tobytes()
    except AttributeError as error:
        raise DecoderError(
            f"a {type(msg).__name__} is no packet of a video: {error}; correct the type in the robot profile"
        ) from None
    # Pixel formats follow the codec after semicolons; hardware encoders are called after it: h264_nvenc, hevc_vaapi.
    word = stated.partition(";")[0].strip().lower()
    codec = FORMATS.get(_ENCODERS.get(word, word).partition("_")[0])
    if codec is None:
        raise DecoderError(
            f"video format '{stated}' is not supported; supported: {listing(FORMATS)}{nearest_name(word, FORMATS)}"
        )
    read = {"h264": _h264, "hevc": _hevc, "av1": _av1, "vp9": _vp9}[codec]
    return replace(read(data), number=int(msg.pts)) if ffmpeg else read(data)


class Continuity:
    """Tells whether each packet follows the one before without a loss.

    Pictures refer to earlier ones, and decoders paint over what is missing without a word. Exact where the stream counts
    its pictures: H.264 by ``frame_num``, H.265 by the picture order count, FFMPEGPacket by ``pts``. Where it does not, and
    for the first H.265 picture after a keyframe, which says by how much the count grows, a distance of more than one and a
    half periods of the stated rate counts as a loss. Counts come round, so a pause in which they could is a loss as well.

    Args:
        period_ns: Period of the camera as the profile states it [ns].
    """

    def __init__(self, period_ns: int) -> None:
        self._period_ns = period_ns
        self._before: Packet | None = None
        self._before_ns = 0
        self._layout: tuple[int, ...] = ()
        self._count = 0  # frame_num of the last reference picture, or picture order count of the last picture
        self._step = 0  # of the picture order count; 0: not known yet

    def add(self, packet: Packet, t_ns: int) -> str:
        """Take the next packet; return why it does not follow, or an empty string.

        A packet that does not follow leaves everything as it was.
        """
        if not packet.keyframe and (why := self._gap(packet, t_ns)):
            return why
        self._layout = packet.layout or self._layout
        if packet.codec == "h264" and packet.reference:
            self._count = 0 if packet.keyframe else _frame_num(packet, self._layout)
        elif packet.codec == "hevc":
            count = _order_count(packet, self._layout)
            self._step = 0 if packet.keyframe else (count - self._count) % (1 << self._layout[0])
            self._count = count
        self._before, self._before_ns = packet, t_ns
        return ""

    def _gap(self, packet: Packet, t_ns: int) -> str:
        before = self._before
        if before is None:
            return "no keyframe came before it"
        if before.codec != packet.codec:
            return f"the stream turned from {before.codec} to {packet.codec} without a keyframe"
        if packet.codec == "h264":
            found, wanted = _frame_num(packet, self._layout), (self._count + 1) % (1 << self._layout[0])
            if found != wanted:
                return f"pictures are missing before it (frame_num {found} instead of {wanted})"
            return self._pause(t_ns, 1 << self._layout[0])
        if packet.codec == "hevc":
            step = (_order_count(packet, self._layout) - self._count) % (1 << self._layout[0])
            if step not in ((self._step,) if self._step else _USUAL_STEPS):
                return (
                    f"pictures are missing before it (picture order count grew by {step} instead of {self._step or 1})"
                )
            if self._step:
                return self._pause(t_ns, (1 << self._layout[0]) // self._step)
        if packet.number is not None and before.number is not None:
            lost = packet.number - before.number - 1
            return "" if lost == 0 else f"{lost} pictures are missing before it (pts {before.number}, {packet.number})"
        return self._pause(t_ns, 1)

    def _pause(self, t_ns: int, unseen: int) -> str:
        """Return why this pause is too long, where the loss of `unseen` pictures would not show otherwise."""
        distance = t_ns - self._before_ns
        if distance <= self._period_ns * (2 * unseen + 1) // 2:
            return ""
        return (
            f"it comes {distance / 1e9:.3g} s after the one before, where rate_hz in the profile says "
            f"{self._period_ns / 1e9:.3g} s, so one is missing or the camera is slower than stated"
        )


def _frame_num(packet: Packet, layout: tuple[int, ...]) -> int:
    """Return ``frame_num`` of a H.264 slice header (7.3.3)."""
    bits = _Bits(packet.slice_bits)
    for _ in range(3):  # first_mb_in_slice, slice_type, pic_parameter_set_id
        bits.unsigned()
    return bits.read(layout[0])


def _order_count(packet: Packet, layout: tuple[int, ...]) -> int:
    """Return ``slice_pic_order_cnt_lsb`` of a H.265 slice segment header (7.3.6.1)."""
    if packet.kind in _HEVC_IDR:
        return 0
    length, extra, output_flag = layout
    bits = _Bits(packet.slice_bits)
    if not bits.read(1):
        raise DamagedError("hevc packet does not begin with the first slice of a picture; it is cut at the wrong place")
    bits.read(1 if packet.kind in _HEVC_IRAP else 0)  # no_output_of_prior_pics_flag
    bits.unsigned()  # slice_pic_parameter_set_id
    bits.read(extra)
    bits.unsigned()  # slice_type
    bits.read(output_flag)
    return bits.read(length)


def _h264(data: bytes) -> Packet:
    layout: tuple[int, ...] = ()
    for at in _units(data):
        kind = data[at] & 0x1F
        if kind == _H264_SPS:
            layout = (_h264_frame_num_bits(_payload(data, at + 1)),)
        elif 1 <= kind <= _H264_IDR:
            header = _payload(data, at + 1)
            bits = _Bits(header)
            bits.unsigned()  # first_mb_in_slice
            return Packet(
                "h264",
                data,
                keyframe=kind == _H264_IDR and bool(layout),
                reordered=bits.unsigned() in _H264_B_SLICES,
                reference=bool(data[at] & 0x60),
                kind=kind,
                slice_bits=header,
                layout=layout,
            )
    raise DamagedError(f"h264 packet of {len(data)} bytes holds no picture")


def _h264_frame_num_bits(sps: bytes) -> int:
    """Return the length of ``frame_num``, from a sequence parameter set (7.3.2.1.1)."""
    bits = _Bits(sps)
    profile = bits.read(8)
    bits.read(16)  # constraints, level
    bits.unsigned()  # id
    if profile in _H264_HIGH:
        chroma = bits.unsigned()
        if chroma == 3 and bits.read(1):
            raise DecoderError("h264 with separate colour planes is not supported; encode yuv420p")
        bits.unsigned()  # bit depths
        bits.unsigned()
        bits.read(1)
        if bits.read(1):
            for i in range(12 if chroma == 3 else 8):
                if bits.read(1):
                    _skip_scaling_list(bits, 16 if i < 6 else 64)
    return bits.unsigned() + 4


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            code = bits.unsigned()
            following = (last + ((code + 1) // 2 if code % 2 else -(code // 2))) % 256
        last = following or last


def _hevc(data: bytes) -> Packet:
    found: dict[int, list[bytes]] = {}
    for at in _units(data):
        kind = (data[at] >> 1) & 0x3F
        header = _payload(data, at + 2)
        if kind < _HEVC_VPS:
            complete = found.keys() >= {_HEVC_VPS, _HEVC_SPS, _HEVC_PPS}
            return Packet(
                "hevc",
                data,
                keyframe=kind in _HEVC_IRAP and complete,
                reordered=kind in _HEVC_LEADING,
                kind=kind,
                slice_bits=header,
                layout=(_hevc_order_count_bits(found[_HEVC_SPS][-1]), *_hevc_extra_bits(found[_HEVC_PPS]))
                if complete
                else (),
            )
        found.setdefault(kind, []).append(header)
    raise DamagedError(f"hevc packet of {len(data)} bytes holds no picture")


def _hevc_order_count_bits(sps: bytes) -> int:
    """Return the length of ``slice_pic_order_cnt_lsb``, from a sequence parameter set (7.3.2.2.1)."""
    bits = _Bits(sps)
    bits.read(4)
    sub_layers = bits.read(3)
    bits.read(1 + 88 + 8)  # nesting; profile and level (7.3.3)
    present = [(bits.read(1), bits.read(1)) for _ in range(sub_layers)]
    bits.read(2 * (8 - sub_layers) if sub_layers else 0)
    for profile, level in present:
        bits.read(88 * profile + 8 * level)
    bits.unsigned()  # id
    if bits.unsigned() == 3 and bits.read(1):
        raise DecoderError("hevc with separate colour planes is not supported; encode yuv420p")
    for _ in range(2):  # size
        bits.unsigned()
    if bits.read(1):
        for _ in range(4):  # conformance window
            bits.unsigned()
    for _ in range(2):  # bit depths
        bits.unsigned()
    return bits.unsigned() + 4


def _hevc_extra_bits(sets: list[bytes]) -> tuple[int, int]:
    """Return ``num_extra_slice_header_bits`` and ``output_flag_present_flag`` of picture parameter sets (7.3.2.3.1)."""
    found = set()
    for data in sets:
        bits = _Bits(data)
        for _ in range(2):  # ids
            bits.unsigned()
        bits.read(1)
        output_flag = bits.read(1)
        found.add((bits.read(3), output_flag))
    if len(found) > 1:
        raise DecoderError("hevc with picture parameter sets of different slice headers is not supported")
    return found.pop()


def _av1(data: bytes) -> Packet:
    at, sequence = 0, False
    while at < len(data):
        kind, extended, sized = (data[at] >> 3) & 0xF, data[at] & 4, data[at] & 2
        at += 2 if extended else 1
        size, at = _leb128(data, at) if sized else (len(data) - at, at)
        if kind == _AV1_SEQUENCE:
            sequence = True
        elif kind in (_AV1_FRAME_HEADER, _AV1_FRAME) and at < len(data):
            # Not shown anew, and of the type KEY_FRAME.
            return Packet("av1", data, keyframe=sequence and data[at] & 0xE0 == 0)
        at += size
    raise DamagedError(f"av1 packet of {len(data)} bytes holds no picture")


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of variable length and where it ends."""
    value = 0
    for i in range(8):
        if at + i >= len(data):
            raise DamagedError(f"av1 packet of {len(data)} bytes is cut short")
        value |= (data[at + i] & 0x7F) << (7 * i)
        if not data[at + i] & 0x80:
            return value, at + i + 1
    raise DamagedError(f"av1 packet of {len(data)} bytes has a damaged length")


def _vp9(data: bytes) -> Packet:
    if not data or data[0] >> 6 != 2:
        raise DamagedError(f"vp9 packet of {len(data)} bytes does not begin with a frame")
    shift = 1 if data[0] & 0x30 == 0x30 else 2  # profile 3 has a reserved bit
    return Packet("vp9", data, keyframe=(data[0] >> shift) & 3 == 0)


def _units(data: bytes) -> Iterator[int]:
    """Yield where each NAL unit begins, after its start code."""
    if not data.startswith((_START, b"\x00" + _START)):
        raise DamagedError(
            f"video packet of {len(data)} bytes does not begin with an Annex B start code; is it cut short, or in MP4 form?"
        )
    at = data.find(_START)
    while 0 <= at < len(data) - len(_START):
        yield at + len(_START)
        at = data.find(_START, at + len(_START))


def _payload(data: bytes, at: int) -> bytes:
    """Return the first bytes of a NAL unit without the bytes that keep start codes out of it."""
    return data[at : at + _HEADER_BYTES].replace(b"\x00\x00\x03", b"\x00\x00")


class _Bits:
    """Reads bits from the most significant on, and Exp-Golomb codes (H.264, 9.1)."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def read(self, count: int) -> int:
        if count > self._left:
            raise DamagedError("the header of a video packet is cut short")
        self._left -= count
        return (self._value >> self._left) & ((1 << count) - 1)

    def unsigned(self) -> int:
        zeros = 0
        while not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)
