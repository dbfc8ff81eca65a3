"""A report's one page, ``report.html``: a template, its script and style, and the tables in it."""
