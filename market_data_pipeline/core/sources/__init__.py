"""Where klines come from: the REST API and the archive of the exchange. The only room that uses the network.

Belongs here: requests, retries, proxies, request weights, the evidence for absent minutes. Does not belong here:
days, chunks and files. `protocol` has the interface of a source, `union` joins REST and archive, `opening` makes a
source by name, `transport` sends every HTTP request, `proxies` reads the proxies of the environment.
May import: `core.catalog`, `core.klines`, `core.errors`. Only `rest` knows ccxt.
"""
