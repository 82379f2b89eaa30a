"""The browse page: what is stored, day by day and minute by minute, as HTML.

Belongs here: routes of pages, templates, static files, what is on a page. Does not belong here: changing anything
(`api.routes`).
May import: `api`'s other modules but `app` and `routes`; what `api` may import.
"""
