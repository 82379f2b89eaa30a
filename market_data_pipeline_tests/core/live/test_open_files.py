"""The limit of open files is raised as far as it may be, and never lowered."""

import sys

import pytest

from market_data_pipeline.core.live.open_files import allow_open_files

if sys.platform == "win32":
    pytest.skip("no such limit", allow_module_level=True)
else:
    import resource


def test_the_soft_limit_is_raised_to_what_is_needed_or_to_the_hard_one() -> None:
    before = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    low = min(soft, 300)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (low, hard))
        allow_open_files("one", 100)
        raised = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert raised > low or raised == hard
        allow_open_files("other", 100)
        both = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert both == raised + 100 or both == hard
        allow_open_files("other", 1_000_000_000)
        highest = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert raised <= highest <= hard or hard == resource.RLIM_INFINITY
        allow_open_files("other", 0)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (highest, hard)
    finally:
        allow_open_files("one", 0)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
