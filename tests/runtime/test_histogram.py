"""Durations in buckets, and what they say about percentiles."""

import pytest

from raftline.runtime.histogram import BOUNDS_S, Histogram, quantile


def test_a_duration_counts_in_the_bucket_whose_bound_it_does_not_exceed() -> None:
    """Bounds belong to their buckets, as in Prometheus; what is longer than all has a bucket of its own."""
    histogram = Histogram()
    histogram.observe(BOUNDS_S[3])
    histogram.observe(BOUNDS_S[3] * 1.001, count=4)
    histogram.observe(1e9)
    assert histogram.counts[3] == 1
    assert histogram.counts[4] == 4
    assert histogram.counts[-1] == 1
    assert histogram.count == 6


def test_the_sum_is_weighted_and_never_falls() -> None:
    """A clock that went back adds nothing: a Prometheus sum must not fall."""
    histogram = Histogram()
    histogram.observe(0.5, count=3)
    histogram.observe(-2.0)
    assert histogram.sum_s == pytest.approx(1.5)
    assert histogram.counts[0] == 1


def test_bounds_rise_in_steps_of_one_two_five() -> None:
    """From 10 µs to 10 s, written as people write them."""
    assert list(BOUNDS_S) == sorted(set(BOUNDS_S))
    assert (BOUNDS_S[0], BOUNDS_S[1], BOUNDS_S[2], BOUNDS_S[-1]) == (1e-05, 2e-05, 5e-05, 10.0)


def test_a_percentile_is_interpolated_inside_its_bucket() -> None:
    """Of a hundred equal durations the middle of their bucket is the median; nothing is known of none."""
    histogram = Histogram()
    assert quantile(histogram.counts, 0.5) is None
    histogram.observe(0.0015, count=100)
    assert quantile(histogram.counts, 0.5) == pytest.approx(0.0015)
    assert quantile(histogram.counts, 1.0) == pytest.approx(0.002)
    histogram.observe(100.0, count=1000)
    assert quantile(histogram.counts, 0.99) == 10.0
