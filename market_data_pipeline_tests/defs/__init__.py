"""Tests of Dagster's definitions. `loading` has their helpers."""
