"""A simulated exchange over HTTP, to test and to try things against.

Belongs here: the endpoints of the exchange, request weights, faults on demand. Does not belong here: anything of the
package that it tests: it shares no code with it.
"""
