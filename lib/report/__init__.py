"""How results reach the page: a chapter's report, claims and their rules, charts, provenance,
exercises.

Known to chapters, to the pipeline that builds the site, and to nothing else in lib.

May import of ours, beside itself: measures, files, profiles.
"""
