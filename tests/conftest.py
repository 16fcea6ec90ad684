"""The order of the tests: the longest first, so that no worker is left with one of them when the others are done."""

LONGEST = ("test_commands_run", "test_killed_at_random_moments_ends_in_the_same_bits")


def pytest_collection_modifyitems(items):
    """Everything else stays in its order."""
    items.sort(key=lambda item: LONGEST.index(item.name) if item.name in LONGEST else len(LONGEST))
