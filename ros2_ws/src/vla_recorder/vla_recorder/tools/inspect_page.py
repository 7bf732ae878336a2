# SPDX-License-Identifier: Apache-2.0

"""An HTML page of episodes: pictures, phase band, curves. One file, nothing is fetched, no script runs."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from vla_core.episode import PHASES

from vla_recorder.tools.episode_view import EpisodeView

_WIDTH, _PLOT_HEIGHT, _BAND_HEIGHT = 960, 150, 18
_THUMB_HEIGHT = 96
_MAX_POINTS = 600
PHASE_COLOURS = ("#d0d0d0", "#f0e2a0", "#5b9bd5", "#70ad47", "#ed7d31", "#8064a2", "#c0504d")
_CURVES = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf")
_STYLE = """
body{font:14px/1.45 system-ui,sans-serif;margin:24px auto;max-width:1000px;color:#222}
h1{font-size:22px}h2{font-size:16px;margin:28px 0 4px;border-top:1px solid #ddd;padding-top:14px}
table{border-collapse:collapse;font-size:13px}td,th{padding:3px 10px;text-align:right;border-bottom:1px solid #eee}
td:first-child,th:first-child,td.l,th.l{text-align:left}.facts{color:#555}.warn{color:#a33}
.strip{display:flex;gap:3px;margin:6px 0}.strip img{height:96px}.strip span{font-size:11px;color:#777;width:60px}
.legend{font-size:12px}.legend span{white-space:nowrap}.legend i{display:inline-block;width:10px;height:10px;margin:0 4px 0 12px}svg{display:block;margin:3px 0}
"""


def page(title: str, views: Iterable[EpisodeView]) -> str:
    """Return the page of some episodes."""
    cards, rows = [], []
    for number, view in enumerate(views):
        rows.append(_table_row(number, view))
        cards.append(_card(number, view))
    head = "<tr><th>episode</th><th class='l'>task</th><th class='l'>outcome</th><th>rows</th><th>seconds</th><th>gaps</th><th>dropped</th></tr>"
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(title)}</title><style>{_STYLE}</style>"
        f"<h1>{html.escape(title)}</h1>{_phase_legend()}<table>{head}{''.join(rows)}</table>{''.join(cards)}</html>\n"
    )


def _table_row(number: int, view: EpisodeView) -> str:
    return (
        f"<tr><td><a href='#e{number}'>{html.escape(view.name)}</a></td><td class='l'>{html.escape(view.task)}</td>"
        f"<td class='l'>{html.escape(view.outcome)}</td><td>{view.rows}</td><td>{view.duration_s:.1f}</td>"
        f"<td>{len(view.gaps)}</td><td>{sum(view.dropped.values())}</td></tr>"
    )


def _card(number: int, view: EpisodeView) -> str:
    facts = f"{view.rows} rows at {view.fps:g} Hz, {view.duration_s:.2f} s"
    parts = [
        f"<h2 id='e{number}'>{html.escape(view.name)}</h2>",
        f"<div class='facts'>{html.escape(view.task)} &middot; {html.escape(view.outcome or 'no outcome')} &middot; {facts}</div>",
    ]
    lost = [f"dropped {count}: {reason}" for reason, count in view.dropped.items()]
    parts += [f"<div class='warn'>{html.escape(text)}</div>" for text in (*view.warnings, *lost)]
    for camera, pictures in view.pictures.items():
        images = "".join(
            f"<img title='{html.escape(camera)}, {view.t_s[row]:.2f} s' alt='{html.escape(camera)} at {view.t_s[row]:.2f} s' "
            f"src='data:image/jpeg;base64,{_jpeg(image)}'>"
            for row, image in pictures
        )
        parts.append(f"<div class='strip'><span>{html.escape(camera)}</span>{images}</div>")
    parts.append(_band(view))
    for label, values, names in (
        ("state", view.state, view.state_names),
        ("action", view.action, view.action_names),
    ):
        if values.shape[1]:
            parts += [f"<div class='legend'><b>{label}</b>{_legend(names)}</div>", _curves(view, values)]
    return "".join(parts)


def _jpeg(image: NDArray[np.uint8]) -> str:
    scale = _THUMB_HEIGHT / image.shape[0]
    size = (max(1, round(image.shape[1] * scale)), _THUMB_HEIGHT)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])
    if not done:
        raise ValueError(f"a picture of the shape {image.shape} cannot be stored as JPEG")
    return base64.b64encode(data.tobytes()).decode("ascii")


def _x(view: EpisodeView, t_s: float) -> float:
    return _WIDTH * t_s / view.duration_s


def _band(view: EpisodeView) -> str:
    """Return the phases over time, with a red mark wherever rows are missing."""
    parts = []
    for phase, first, last in view.segments:
        left, right = _x(view, float(view.t_s[first])), _x(view, float(view.t_s[last]) + 1.0 / view.fps)
        text = f"{PHASES[phase]}: rows {first} to {last}"
        parts.append(
            f"<rect x='{left:.1f}' width='{right - left:.1f}' height='{_BAND_HEIGHT}' fill='{PHASE_COLOURS[phase]}'>"
            f"<title>{text}</title></rect>"
        )
    for row, seconds in view.gaps:
        right = _x(view, float(view.t_s[row]))
        left = _x(view, float(view.t_s[row - 1]) + 1.0 / view.fps)
        parts.append(
            f"<rect x='{left:.1f}' width='{max(1.5, right - left):.1f}' height='{_BAND_HEIGHT}' fill='#e00'>"
            f"<title>{seconds:.2f} s between rows {row - 1} and {row}</title></rect>"
        )
    return f"<svg width='{_WIDTH}' height='{_BAND_HEIGHT}'>{''.join(parts)}</svg>"


def _curves(view: EpisodeView, values: NDArray[np.float32]) -> str:
    """Return every value over time on one scale, thinned to what the page can show."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    span = max(high - low, 1e-6)
    rows = np.unique(np.linspace(0, view.rows - 1, min(_MAX_POINTS, view.rows)).round().astype(int))
    parts = [
        f"<rect width='{_WIDTH}' height='{_PLOT_HEIGHT}' fill='#fafafa'/>"
        f"<text x='4' y='12' font-size='11' fill='#777'>{high:.3g}</text>"
        f"<text x='4' y='{_PLOT_HEIGHT - 4}' font-size='11' fill='#777'>{low:.3g}</text>"
    ]
    for column in range(values.shape[1]):
        points = " ".join(
            f"{_x(view, float(view.t_s[row])):.1f},"
            f"{_PLOT_HEIGHT - 6 - (float(values[row, column]) - low) / span * (_PLOT_HEIGHT - 12):.1f}"
            for row in rows
            if np.isfinite(values[row, column])
        )
        colour = _CURVES[column % len(_CURVES)]
        parts.append(f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='1.3'/>")
    return f"<svg width='{_WIDTH}' height='{_PLOT_HEIGHT}'>{''.join(parts)}</svg>"


def _legend(names: Sequence[str]) -> str:
    return "".join(
        f"<span><i style='background:{_CURVES[i % len(_CURVES)]}'></i>{html.escape(name)}</span>"
        for i, name in enumerate(names)
    )


def _phase_legend() -> str:
    marks = "".join(f"<i style='background:{c}'></i>{name}" for name, c in zip(PHASES, PHASE_COLOURS, strict=True))
    return f"<p class='legend'>{marks}<i style='background:#e00'></i>rows missing</p>"
