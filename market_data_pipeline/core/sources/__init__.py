"""Where klines come from: the REST API and the archive of the exchange. The only room that uses the network.

Belongs here: requests, retries, proxies, request weights, what both sources say of absent minutes. Does not belong
here: days, chunks and files. `protocol` has what a source can do, `union` joins REST and archive, `opening` makes a
source by name.
May import: `core.klines`, `core.errors`. Only `rest` knows ccxt.
"""
