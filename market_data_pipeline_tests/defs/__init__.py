"""Tests of the Dagster graph. Helpers of these tests are in `loading`."""
