"""The browse pages: the stored datasets, days and minutes as HTML.

Belongs here: routes of pages, templates, static files, the content of a page. Does not belong here: requests that
change anything (`api.routes`).
May import: the other modules of `api` except `app` and `routes`; what `api` may import.
"""
