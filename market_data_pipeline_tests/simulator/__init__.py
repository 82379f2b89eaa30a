"""Tests of the simulated exchange, over real HTTP."""
