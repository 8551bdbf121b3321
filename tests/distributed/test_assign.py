from __future__ import annotations

import itertools

import pytest

from streamt1.distributed.assign import assign


@pytest.mark.parametrize(("rows", "devices"), list(itertools.product((1, 2, 3, 7, 8), (1, 2, 3, 8, 9))))
def test_rows_are_spread_as_evenly_as_can_be(rows, devices):
    places = assign(rows, devices, lambda row, device: 0)
    counts = [places.count(device) for device in range(devices)]
    assert sum(counts) == rows
    assert max(counts) == -(-rows // devices)


def test_neighbours_stay_together():
    assert assign(8, 2, lambda row, device: 0) == [0] * 4 + [1] * 4


def test_a_row_goes_where_least_is_missing():
    assert assign(4, 2, lambda row, device: int(device == row % 2)) == [1, 0, 1, 0]


def test_no_device_gets_more_than_its_share_however_much_it_has():
    assert assign(4, 2, lambda row, device: 5 * device) == [0, 0, 1, 1]
