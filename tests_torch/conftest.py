"""What the tests share: torch on one thread, and pytest's explanations inside the inherited suite."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings
from transformers.utils import logging

pytest.register_assert_rewrite("tests.engine_suite")
torch.set_num_threads(1)  # tiny models are slower on several
logging.set_verbosity_error()  # Mamba says that faster kernels could be installed

# no test depends on a time: the machine may be busy
settings.register_profile("easy_llama_torch", deadline=None, max_examples=50)
settings.load_profile("easy_llama_torch")
