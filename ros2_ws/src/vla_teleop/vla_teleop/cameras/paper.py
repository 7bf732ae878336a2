# SPDX-License-Identifier: Apache-2.0

"""Pictures at exact scale: PNG that knows its resolution, and one-page PDF."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
_POINTS_PER_M = 72.0 / 0.0254


def png(grey: Pixels, pixels_per_m: float) -> bytes:
    """Return a PNG of a grey image ``(H, W)`` with its resolution (chunk pHYs of the PNG specification)."""
    _, data = cv2.imencode(".png", grey)
    whole = data.tobytes()
    each = round(pixels_per_m)
    content = b"pHYs" + struct.pack(">IIB", each, each, 1)
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    header_end = 8 + 25  # signature, and the chunk IHDR of 13 bytes with its frame of 12
    return whole[:header_end] + chunk + whole[header_end:]


def pdf(grey: Pixels, size_m: tuple[float, float], page_m: tuple[float, float], caption: str) -> bytes:
    """Return a PDF page with a grey image in its middle.

    Args:
        grey: Image ``(H, W)``.
        size_m: Width and height of the image on paper.
        page_m: Width and height of the page.
        caption: One line below the image; ASCII.
    """
    width, height = (length * _POINTS_PER_M for length in size_m)
    page_width, page_height = (length * _POINTS_PER_M for length in page_m)
    left, low = (page_width - width) / 2, (page_height - height) / 2
    safe = caption.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
    drawing = (
        f"q {width:.4f} 0 0 {height:.4f} {left:.4f} {low:.4f} cm /Board Do Q\n"
        f"BT /F1 8 Tf {left:.2f} {max(low - 14.0, 4.0):.2f} Td ({safe}) Tj ET"
    ).encode("ascii")
    image = zlib.compress(np.ascontiguousarray(grey).tobytes(), 9)
    about_image = (
        f"<< /Type /XObject /Subtype /Image /Width {grey.shape[1]} /Height {grey.shape[0]} /ColorSpace /DeviceGray "
        f"/BitsPerComponent 8 /Interpolate false /Filter /FlateDecode /Length {len(image)} >>"
    )
    resources = "<< /XObject << /Board 4 0 R >> /Font << /F1 6 0 R >> >>"
    page = (
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {page_width:.4f} {page_height:.4f}] "
        f"/Contents 5 0 R /Resources {resources} >>"
    )
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /ViewerPreferences << /PrintScaling /None >> >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        page.encode("ascii"),
        about_image.encode("ascii") + b"\nstream\n" + image + b"\nendstream",
        f"<< /Length {len(drawing)} >>".encode("ascii") + b"\nstream\n" + drawing + b"\nendstream",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    return _assembled(objects)


def _assembled(objects: list[bytes]) -> bytes:
    out = bytearray(b"%PDF-1.6\n")
    places = []
    for number, content in enumerate(objects, start=1):
        places.append(len(out))
        out += f"{number} 0 obj\n".encode("ascii") + content + b"\nendobj\n"
    table = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode("ascii")
    out += b"".join(f"{place:010d} 00000 n \n".encode("ascii") for place in places)
    out += f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n".encode("ascii")
    return bytes(out)
