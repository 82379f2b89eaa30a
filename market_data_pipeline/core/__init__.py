"""What is true about klines, and everything that is done with them. Knows no Dagster, no web server, no terminal.

Its rooms, from the outermost to the innermost; each may import those below it:

    bulk       many datasets as one job, several at once
    live       the day that is not over               proof      what is stored, proved and repaired
    loading    from a window to chunks: what to request, what becomes of the responses
    store      the files under the data root          sources    the exchange over the network
    catalog    all pairs of a market that ever were
    klines     values without I/O: days, datasets, minutes, rules
    counting   what processes have counted, for those who watch them

`errors` has every error that a person can meet, `text` the numbers that several faces show, `again` how often what
failed is tried, `source_names` what a user may give as the source.
"""
