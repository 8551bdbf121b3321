import torch

from streamt1.core.identity import SAMPLED, byte_view, weights_id


def test_a_model_is_named_by_names_types_shapes_and_numbers_of_its_weights() -> None:
    weights = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4)}
    others = [
        {**weights, "a": weights["a"].view(3, 2)},
        {**weights, "a": weights["a"] + 1},
        {**weights, "b": weights["b"].double()},
        {"a": weights["a"], "c": weights["b"]},
        {"a": weights["a"]},
    ]
    names = {weights_id(one) for one in (weights, *others)}
    assert len(names) == 6
    assert weights_id(dict(reversed(weights.items()))) in names, "their order is no matter"
    assert weights_id({}) not in names


def test_of_large_weights_some_numbers_decide() -> None:
    large = torch.zeros(3 * SAMPLED)
    trained = large + 1e-6
    last = large.clone()
    last[-3] = 1
    assert len({weights_id({"a": one}) for one in (large, trained, last)}) == 3


def test_a_view_of_bytes_is_no_copy() -> None:
    tensor = torch.zeros(2, 2, dtype=torch.bfloat16)
    byte_view(tensor)[1] = 0x40
    assert tensor[0, 0] == 2
    assert len(byte_view(torch.tensor(1.0))) == 4
