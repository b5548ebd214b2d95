"""Settings of all tests."""

import torch
from hypothesis import settings

# Most tests are small, and on a machine that does other work torch's threads wait for one another: one is faster.
torch.set_num_threads(1)

# The same examples in every run, nothing written, and no deadline: a shared machine is slow at times.
settings.register_profile("lib", deadline=None, derandomize=True, database=None, max_examples=40)
settings.load_profile("lib")
