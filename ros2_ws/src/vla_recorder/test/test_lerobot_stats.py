# SPDX-License-Identifier: Apache-2.0

"""Statistics agree with NumPy over all pixels and rows."""

import numpy as np
import pytest
from vla_recorder.formats import stats as module
from vla_recorder.formats.stats import QUANTILES, ImageHistogram, depth_unit, quantile_key, vector_statistics


def expected(values: np.ndarray) -> dict[str, np.ndarray]:
    result = {"mean": values.mean(0), "std": values.std(0), "min": values.min(0), "max": values.max(0)}
    return result | {quantile_key(q): np.quantile(values, q, axis=0) for q in QUANTILES}


def check(statistics: dict, values: np.ndarray, frames: int, shape: tuple[int, ...]) -> None:
    for key, value in expected(values).items():
        assert np.shape(statistics[key]) == shape
        np.testing.assert_allclose(np.ravel(statistics[key]), value, rtol=1e-12, atol=1e-12)
    assert statistics["count"] == [frames]


@pytest.mark.parametrize("exact_float32", [2**24, 1])
def test_rgb_histogram(monkeypatch: pytest.MonkeyPatch, exact_float32: int) -> None:
    monkeypatch.setattr(module, "_EXACT_FLOAT32", exact_float32)
    images = np.random.default_rng(0).integers(0, 256, (4, 20, 30, 3), dtype=np.uint8)
    one, other = ImageHistogram(), ImageHistogram()
    for image in images[:3]:
        one.add(image)
    other.add(images[3])
    kept = one.copy()
    one.merge(other)
    check(one.statistics(), images.reshape(-1, 3) / 255.0, 4, (3, 1, 1))
    assert kept.frames == 3
    assert not one.blank


def test_depth_histogram_in_both_units() -> None:
    depth = np.random.default_rng(0).integers(0, 65536, (3, 20, 30), dtype=np.uint16)
    millimetres = ImageHistogram.of_depth(depth_unit(depth))
    metres = ImageHistogram.of_depth(depth_unit(depth.astype(np.float32)))
    for image in depth:
        millimetres.add(image)
        metres.add(image.astype(np.float32) / 1000)
    check(millimetres.statistics(), depth.reshape(-1, 1).astype(float), 3, (1, 1, 1))
    check(metres.statistics(), depth.reshape(-1, 1) / 1000, 3, (1, 1, 1))
    with pytest.raises(ValueError, match=r"1000 levels per unit, cannot be added to one of shape \(1, 65536\), 1 "):
        millimetres.merge(metres)


def test_depth_without_a_return_counts_as_zero() -> None:
    histogram = ImageHistogram.of_depth("m")
    histogram.add(np.array([[np.nan, np.inf], [-1.0, 70.0]], np.float32))
    assert histogram.counts[0, 0] == 3
    assert histogram.counts[0, 65535] == 1


def test_vector_statistics() -> None:
    values = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    check(vector_statistics(values), values.astype(np.float64), 50, (3,))
    flags = np.array([True, False, True, True])
    check(vector_statistics(flags), flags.astype(float)[:, None], 4, (1,))


def test_nothing_has_no_statistics() -> None:
    with pytest.raises(ValueError, match="no image was counted"):
        ImageHistogram().statistics()
    with pytest.raises(ValueError, match="no row was given"):
        vector_statistics(np.zeros((0, 2)))
