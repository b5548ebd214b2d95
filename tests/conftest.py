"""Settings of all tests."""

from hypothesis import settings

# The same examples in every run, nothing written, and no deadline: a shared machine is slow at times.
settings.register_profile("lib", deadline=None, derandomize=True, database=None, max_examples=40)
settings.load_profile("lib")
