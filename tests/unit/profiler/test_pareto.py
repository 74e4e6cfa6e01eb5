"""The Pareto front of energy and error."""

from hypothesis import given
from hypothesis import strategies as st

from profiler.pareto import dominated, front

TABLE_1 = {
    "resnet34": (359.93, 8.58),
    "resnet50": (420.62, 7.138),
    "resnet101": (803.09, 6.454),
    "resnet152": (1238.15, 5.954),
    "vgg16": (668.97, 9.618),
    "vgg19": (803.85, 9.124),
    "alexnet": (125.0, 20.934),
}


def test_the_vggs_are_dominated() -> None:
    assert set(dominated(TABLE_1)) == {"vgg16", "vgg19"}
    assert front(TABLE_1) == ["alexnet", "resnet34", "resnet50", "resnet101", "resnet152"]


def test_equals_do_not_dominate_each_other() -> None:
    assert dominated({"a": (1.0, 2.0), "b": (1.0, 2.0)}) == {}
    assert dominated({"a": (1.0, 2.0), "b": (1.0, 3.0)}) == {"b": "a"}


@given(st.dictionaries(st.text(min_size=1), st.tuples(st.floats(1, 9), st.floats(0, 9)), min_size=1))
def test_everything_off_the_front_is_beaten_from_the_front(points: dict[str, tuple[float, float]]) -> None:
    best = front(points)
    assert best
    for name in dominated(points):
        assert any(points[b][0] <= points[name][0] and points[b][1] <= points[name][1] for b in best)
