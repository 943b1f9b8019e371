"""Half a minute of what `python -m fastscnn.benchmarks.ros.soak` does for ten: nothing grows but what a warm-up fills."""

from fastscnn.benchmarks.ros.soak import soak


def test_nothing_grows(domain, model) -> None:
    found, counts, _ = soak(model, 0.5)
    assert counts["masks"] > 50
    by_name = {one.what: one for one in found}
    assert by_name["file descriptors"].grown < 3, by_name  # topics that come and go have some of their own
    assert by_name["threads"].grown < 1, by_name
    # Caches still fill; but of the images alone, one in ten that stayed would be more.
    assert by_name["memory"].grown < 60, by_name
